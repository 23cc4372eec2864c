"""Boxes from score maps: NumPy and Numba functions on arrays, independent of torch and files."""
