"""Reading the files of other people safely, and writing our own files atomically."""
