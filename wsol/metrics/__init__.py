"""Metrics from boxes and ground truth: pure functions on arrays, independent of torch and files."""
