"""Models: image to logits and the features that class activation maps are made of."""

from wsol.models._checkpoint import Facts
from wsol.models._load import load_model
from wsol.models._start import Start, adopt
from wsol.models.base import MODELS, Model, Preprocessing
from wsol.models.gap import GapClassifier, find_gap

__all__ = ["MODELS", "Facts", "GapClassifier", "Model", "Preprocessing", "Start", "adopt", "find_gap", "load_model"]
