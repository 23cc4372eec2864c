"""Score map to boxes: plain NumPy and Numba on arrays; knows neither torch nor files."""
