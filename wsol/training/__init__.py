"""Training on image labels alone: the recipe, the loop, and what they write."""

from wsol.training.loop import train
from wsol.training.recipe import Recipe, Stage, read_stages

__all__ = ["Recipe", "Stage", "read_stages", "train"]
