"""What tests share: media and weights made on the spot, servers that play a part, catalogs with known content."""
