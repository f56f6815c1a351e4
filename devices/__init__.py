"""Cabinets: stores and devices, door sessions, what was taken and what is charged for it."""
