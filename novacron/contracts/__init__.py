"""What crosses a wire or a disk: the telemetry tables and the shape of every answer."""
