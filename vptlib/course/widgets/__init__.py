"""Interactive views of the lessons, a file each."""
