"""Stalls themselves: who runs them, their settings, pictures and months."""
