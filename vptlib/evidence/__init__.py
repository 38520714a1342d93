"""Judgement: what the runs say, how sure that is, and what to do next."""
