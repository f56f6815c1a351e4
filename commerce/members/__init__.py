"""Members: what is known of a person besides the account, and what is done with their tickets."""
