"""The ways to adapt a backbone: what each trains, one training loop for all, and what is stored."""
