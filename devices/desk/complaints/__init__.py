"""Complaints: what buyers say about their orders, and how it ends."""
