"""A plugin that wants to end the program that lists it."""

raise SystemExit("this plugin is tired")
