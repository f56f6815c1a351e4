"""The rows of cabinet orders."""
