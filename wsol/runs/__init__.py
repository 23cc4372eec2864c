"""The run folder: its format, written and read back."""
