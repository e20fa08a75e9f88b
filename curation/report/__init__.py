"""This package makes the report: one self-contained HTML page about a catalog, with sums and some pictures, no rows."""
