"""Maps and boxes that no network has to be run for: of a stored run, a folder, a file, or a baseline."""
