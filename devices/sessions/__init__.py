"""Door sessions: from the wish to open a door until it is known what was taken and paid."""
