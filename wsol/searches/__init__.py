"""Searches: the settings of training methods, found by random trials on the validation split."""

from wsol.searches.search import Search, search

__all__ = ["Search", "search"]
