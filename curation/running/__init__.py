"""Execution on Ray: phases feed units through a pool to a crew of workers, which measure and commit."""
