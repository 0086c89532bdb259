"""The training loop, the built-in trainers, checkpoints, and running a plan."""
