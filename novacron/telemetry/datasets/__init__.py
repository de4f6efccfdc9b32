"""One adapter per public data set: native units in, the telemetry tables out."""
