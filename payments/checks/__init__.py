"""What payments promise, besides the ledger itself."""
