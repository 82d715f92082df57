"""Mutational fuzzing of every decoder that reads what another process or a file may bring."""
