"""The training loop, the built-in trainers, and the run around them."""
