"""The prediction log: what was answered, in Parquet; later joined with what came true."""
