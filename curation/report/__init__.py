"""The report: one self-contained HTML page about a catalog. Aggregates and a handful of pictures, never rows."""
