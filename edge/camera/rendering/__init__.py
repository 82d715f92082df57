"""Pictures of the synthetic line's parts: the good plate, and the defects painted on it."""
