"""The people of the back office: their accounts, passwords, second factors and permissions."""
