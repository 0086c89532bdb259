"""Training configurations, and the plans made from them. Needs no torch."""
