"""What must hold of cabinet orders, whatever has happened."""
