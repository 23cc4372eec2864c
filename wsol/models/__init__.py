"""Models: image to logits and the features that class activation maps are made of."""

from wsol.models._load import load_model
from wsol.models.base import MODELS, Model, Preprocessing
from wsol.models.gap import GapClassifier

__all__ = ["MODELS", "GapClassifier", "Model", "Preprocessing", "load_model"]
