"""Sources of score maps and boxes that need no network: a stored run, a folder, a file, or a baseline."""
