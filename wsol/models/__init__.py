"""Models: image to logits and the maps of a target layer."""

from wsol.models.base import MODELS, Model, Preprocessing
from wsol.models.checkpoint import Facts
from wsol.models.classifier import Classifier
from wsol.models.global_pooling import GapClassifier, find_gap
from wsol.models.initialize import Start, adopt
from wsol.models.loading import find_architecture, load_model, optimise
from wsol.models.target_layer import find_classifier

__all__ = [
    "MODELS",
    "Classifier",
    "Facts",
    "GapClassifier",
    "Model",
    "Preprocessing",
    "Start",
    "adopt",
    "find_architecture",
    "find_classifier",
    "find_gap",
    "load_model",
    "optimise",
]
