"""The radiance field: parameter layout and backends."""
