"""What we are measured beside: each the usual way of doing it with something well known."""
