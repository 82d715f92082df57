"""The command lines of the method: one file a command."""
