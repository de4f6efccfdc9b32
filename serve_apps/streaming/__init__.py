"""Raw samples in, predictions by the name of a link or node out: the histories are kept here."""
