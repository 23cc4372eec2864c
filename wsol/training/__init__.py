"""Training on image labels alone: the recipe, the training loop and its files."""

from wsol.training.recipe import Recipe, Stage, read_stages
from wsol.training.train import train

__all__ = ["Recipe", "Stage", "read_stages", "train"]
