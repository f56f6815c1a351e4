"""Benchmarks: what the product does in a second, beside what others do on the same core."""
