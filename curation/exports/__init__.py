"""What leaves a catalog: snapshots, the curated rows of one moment, frozen with what decided them."""
