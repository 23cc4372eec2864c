"""Runs on the same images side by side: paired differences, ranks, figures and a page."""
