"""Everything that needs torch. Nothing outside imports torch, and nothing imports this folder in passing."""
