"""What a request costs here and in the servers that a user would choose otherwise."""
