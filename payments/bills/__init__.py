"""The daily bill against our books."""
