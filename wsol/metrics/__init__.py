"""Boxes and ground truth to numbers: pure functions on arrays; knows neither torch nor files."""
