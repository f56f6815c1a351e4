"""Alert rules: what crosses a threshold is an alert as long as it does."""
