"""Our goods as the vendors have them."""
