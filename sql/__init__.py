"""Tables, transactions, migrations, event streams, outbox and idempotency."""
