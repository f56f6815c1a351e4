"""Stores, and the devices that stand in them."""
