"""Months that a seller pays for: there when, and only when, the money is."""
