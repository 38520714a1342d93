"""What the notebooks of a report show, a section each."""
