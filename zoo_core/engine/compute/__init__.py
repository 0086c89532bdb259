"""Precision, processes, seeding, losses and batched inference."""
