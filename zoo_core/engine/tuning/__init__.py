"""Choosing a model and its settings for the user's images: compares backbones, and searches settings."""
