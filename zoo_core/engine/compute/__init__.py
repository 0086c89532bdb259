"""Precision, processes, seeds, losses and batched inference: what all computation shares."""
