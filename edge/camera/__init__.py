"""The camera service: one process a line, from an image source to `frame/{line}/`."""
