"""This package runs a funnel on Ray: phases feed units through a pool to workers, which measure clips and commit."""
