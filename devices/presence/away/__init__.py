"""Vendors that do not say how their cabinets are."""
