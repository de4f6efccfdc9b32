"""The prediction log at the endpoint: answers in, outcomes in, counts out."""
