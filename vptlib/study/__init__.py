"""The fair comparison: the plan, the material that runs share, one run, and the store of runs."""
