"""The course: what its notebooks call, and how a notebook is run with other parameters."""
