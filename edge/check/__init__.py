"""`edge-check`: would this box inspect with these settings, and what is to be done where not."""
