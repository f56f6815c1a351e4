"""Sales by day, store, device and payment type, equal to the orders they are of."""
