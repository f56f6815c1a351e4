"""People: accounts, roles, sessions, and what WeChat's mini-program API knows of them."""
