"""Aligner and contextual forms compared on real images (docs/method.md)."""
