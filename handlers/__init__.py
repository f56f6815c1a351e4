"""Sockets in, sockets out: what the outside sees of the product."""
