"""Training methods: how the loss of a step is computed from image labels."""

from wsol.training.methods.base import TRAIN_METHODS, Run, TrainMethod, find_train_method

__all__ = ["TRAIN_METHODS", "Run", "TrainMethod", "find_train_method"]
