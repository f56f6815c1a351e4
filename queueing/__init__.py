"""Stalls, number pools, tickets and calling: the heart of the product."""
