"""From bytes to a checked, gap-flagged grid per entity: read, validate, quarantine, join."""
