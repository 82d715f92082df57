"""Other methods, re-stated on our backbone: one module a peer, each a pure function of image features."""
