"""What is owed, paid and refunded; the ledger; WeChat Pay."""
