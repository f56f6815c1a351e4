"""What the cabinets filmed of an order: whether it is there, and where it is to be seen."""
