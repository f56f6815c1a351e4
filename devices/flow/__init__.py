"""How a door is opened, watched and followed to its end: sessions, orders and vendors meet."""
