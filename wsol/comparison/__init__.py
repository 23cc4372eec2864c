"""Comparison of runs on the same images: paired differences, ranks, figures and a page."""
