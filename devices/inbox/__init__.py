"""What the vendors tell us: kept before it is answered, then worked off in order."""
