"""Building models, loading, importing and exporting their weights, and optimizing them for inference."""
