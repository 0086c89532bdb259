"""Models that were exported out of PyTorch: what their files hold, and using them without torch."""
