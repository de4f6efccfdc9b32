"""One objective per model: how a search prepares its data, runs a trial and scores it."""
