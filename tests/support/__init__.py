"""Tests share these helpers: media and weights made on the spot, scripted servers, catalogs with known content."""
