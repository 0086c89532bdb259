"""Everything that needs torch. Nothing outside this folder imports torch, and nothing imports this folder in passing."""
