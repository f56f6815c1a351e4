"""Who did what in the back office, kept so that a change of it shows."""
