"""Events that staff look at, and let be worked once more."""
