"""The 1,000 classes of ImageNet: WordNet ids in output order, common names, and which networks have them."""

from functools import cache
from pathlib import Path

from wsol.models.base import Model

COUNT = 1000
TWICE = frozenset({"crane", "maillot"})
"""Common names that two classes have; a list may spell one of the two in another way, so that it seems unique."""

_LIBRARIES = ("torchvision", "timm")


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Return the WordNet ids of the classes in sorted order, such as ``n01440764``."""
    text = (Path(__file__).parent / "imagenet_synsets.txt").read_text(encoding="ascii")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


@cache
def imagenet_names() -> tuple[str, ...]:
    """Return a common name of each class as torchvision spells it, in the order of ``imagenet_synsets``."""
    from torchvision.models import ResNet18_Weights  # noqa: PLC0415  # slow to import

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def is_published_imagenet(model: Model) -> bool:
    """Return whether the authors of published weights say that the outputs are ImageNet's 1,000 classes."""
    return model.classes == COUNT == len(model.categories) and not model.class_names


def is_imagenet(model: Model) -> bool:
    """Return whether outputs count as ImageNet's 1,000 classes in sorted order of their WordNet ids.

    They do if there are 1,000, the weights file does not name them itself, and they are published weights of
    torchvision or timm, or any weights in a network whose class one of the two packages defines.
    """
    from_library = model.classes == COUNT and model.library in _LIBRARIES and not model.class_names
    return is_published_imagenet(model) or from_library
