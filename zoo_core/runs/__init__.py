"""Run directories: what they hold, how they compare, and the report made from them."""
