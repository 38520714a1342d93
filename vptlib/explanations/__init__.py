"""What a model looked at, and whether such a picture means anything."""
