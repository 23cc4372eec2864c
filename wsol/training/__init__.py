"""Training on image labels alone: the recipe, the loop, and what they write."""

from wsol.training.recipe import Recipe, Stage, read_stages
from wsol.training.train import train

__all__ = ["Recipe", "Stage", "read_stages", "train"]
