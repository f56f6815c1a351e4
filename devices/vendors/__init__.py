"""Whoever makes the cabinets: one port, and a module for each vendor behind it."""
