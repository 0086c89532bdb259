"""Writes trained models to files that need no PyTorch, and compares them with it first."""
