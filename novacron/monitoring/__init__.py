"""What is watched in operation: metric names, reports, drift."""
