"""The chaos campaign: the real processes of a line, faults at random, and an account of every part."""
