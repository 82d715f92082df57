"""Measurements beside others: speed (`python -m benchmarks`) and quality (`benchmarks.quality`)."""
