"""Immutable descriptions of models, weights, datasets, trainers and components. Needs no torch."""
