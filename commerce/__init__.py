"""What is sold: goods as the ERP has them, sales on their way to it, members."""
