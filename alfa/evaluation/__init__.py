"""Judging the method on data sets with known answers."""
