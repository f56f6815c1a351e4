"""Layouts on their way to the vendor: one version after the other."""
