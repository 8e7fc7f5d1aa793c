"""`mooring status`."""
