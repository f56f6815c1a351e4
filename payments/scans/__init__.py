"""Standing codes (native mode one): printed once, and every scan asks us for an order."""
