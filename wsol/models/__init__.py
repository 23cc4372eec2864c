"""Models: networks that map images to class scores, split at a target layer."""

from wsol.models import _torchvision  # noqa: F401  # before any module imports torchvision
from wsol.models.base import MODELS, Model, Preprocessing
from wsol.models.checkpoint import WeightsMetadata
from wsol.models.classifier import Classifier, GapClassifier
from wsol.models.initialize import InitReport, load_matching
from wsol.models.loading import complete_name, find_architecture, load_model, optimize
from wsol.models.target_layer import find_classifier, find_gap

__all__ = [
    "MODELS",
    "Classifier",
    "GapClassifier",
    "InitReport",
    "Model",
    "Preprocessing",
    "WeightsMetadata",
    "complete_name",
    "find_architecture",
    "find_classifier",
    "find_gap",
    "load_matching",
    "load_model",
    "optimize",
]
