"""Checks of models, datasets and trainers against what their cards declare."""
