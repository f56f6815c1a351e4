"""What is in a cabinet: its layout with prices, how many there are, and until when they keep."""
