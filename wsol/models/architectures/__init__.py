"""Registered architectures: one file each."""
