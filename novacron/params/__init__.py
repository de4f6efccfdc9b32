"""What may be tuned: the parameter tables of DWCP."""
