"""The ledger read from its first journal on, to see whether its promises hold."""
