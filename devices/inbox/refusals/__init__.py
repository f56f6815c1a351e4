"""Callbacks that somebody else has signed, or used again: how many there were of late."""
