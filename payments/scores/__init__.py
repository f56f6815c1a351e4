"""Service orders of Payscore: what is wanted of each, and what has become of it."""
