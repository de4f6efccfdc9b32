"""One file per target: what its knobs do, what its telemetry shows, what its objective weighs."""
