"""Models: image to logits and the maps of a target layer."""

from wsol.models._checkpoint import Facts
from wsol.models._find import find_architecture
from wsol.models._load import load_model
from wsol.models._optimise import optimise
from wsol.models._start import Start, adopt
from wsol.models.base import MODELS, Model, Preprocessing
from wsol.models.classifier import Classifier
from wsol.models.gap import GapClassifier, find_gap
from wsol.models.target import find_classifier

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
