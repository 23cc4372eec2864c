"""Heads of training methods, which take the place of a network's pooling and linear layer."""
