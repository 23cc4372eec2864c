"""Reads files that other people wrote safely, and writes our own files whole."""
