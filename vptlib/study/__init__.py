"""The fair comparison: what is planned, what is loaded, one run, and the store that keeps it."""
