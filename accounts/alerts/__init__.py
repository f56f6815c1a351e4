"""Alerts and incidents for people: looked at, and cleared by hand where nothing else does."""
