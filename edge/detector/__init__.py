"""`edge-detector`: frames of several lines in, one verdict a part out."""
