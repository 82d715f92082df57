"""Anomaly prompts: templates, prompt files, the language model that writes them, and the linter."""
