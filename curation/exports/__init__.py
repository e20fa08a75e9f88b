"""This package exports snapshots: the curated rows of one moment, frozen with what decided them."""
