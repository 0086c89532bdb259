"""Activations, Grad-CAM, and the pages that show them."""
