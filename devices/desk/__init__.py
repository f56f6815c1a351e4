"""What needs a person: exceptions of cabinets, and complaints of those who bought there."""
