"""The soak: random kills, invented inputs and large amounts, each case drawn from a seed, so that it can be repeated.

`make soak` runs all of it and writes the pages reliability*.md in reports/benchmarks. A call that was stopped goes on
at the next.

    PYTHONPATH=tests python -m soak --help
"""
