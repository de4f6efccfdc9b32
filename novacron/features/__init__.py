"""One feature function for training, search and serving."""
