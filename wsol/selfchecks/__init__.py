"""Checks that this installation computes the right numbers on this machine: cases with known answers."""
