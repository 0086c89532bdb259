"""The Python interface: each function does what the command of the same name does."""
