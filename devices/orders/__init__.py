"""Cabinet orders: what was taken, what it costs, and the one rule by which it is charged."""
