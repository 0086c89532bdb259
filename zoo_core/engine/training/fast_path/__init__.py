"""Faster ways to compute the same result; precision "float32" turns all of them off."""
