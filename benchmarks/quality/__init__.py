"""Quality beside peers on the same weights and images: `python -m benchmarks.quality`."""
