"""`edge-demo`: the whole line on one machine, as real processes, without network, GPU or camera."""
