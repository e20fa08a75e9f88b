"""An HTTP server of ours listens, and ends in order; what it serves is the business of those above."""
