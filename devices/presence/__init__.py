"""Whether a cabinet is there, what it reports, and what it is told to be like."""
