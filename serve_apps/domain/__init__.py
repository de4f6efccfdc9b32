"""Typed routes over the data plane: JSON rows in, the records of the platform's documents out."""
