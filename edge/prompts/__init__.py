"""The life of a line's prompts: compare with what runs, rehearse on good parts, apply, take back."""
