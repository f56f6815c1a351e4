"""Reads the configuration, wires the parts together, starts, schedules and stops them."""
