"""ALFA beside other methods on the same weights and images."""
