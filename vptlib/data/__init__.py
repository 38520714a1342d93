"""Images and labels: what somebody meant by these files, and how they become tensors."""
