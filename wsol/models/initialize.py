"""Weights to start a training from."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from wsol.errors import InputError
from wsol.models.base import MODELS, Preprocessing
from wsol.models.checkpoint import check_finite, read_checkpoint
from wsol.models.loading import find_architecture


@dataclass(frozen=True)
class InitReport:
    """What weights a training starts from.

    Attributes:
        preprocessing: What they expect.
        sha256: Of the file, hex.
        left: Names of the network's tensors that the file did not fill; they keep their random start.
    """

    preprocessing: Preprocessing
    sha256: str
    missing: tuple[str, ...]


def load_matching(network: nn.Module, name: str, weights: str | Path) -> InitReport:
    """Take over every tensor whose name and shape are the network's, in place; the rest keeps its random start.

    Args:
        network: To be trained.
        name: Its registered name; published weights are those of its backbone.
        weights: A file, or the name of published weights.

    Returns:
        What was taken.

    Raises:
        InputError: There are no such weights, or no tensor fits.
    """
    backbone = name.removesuffix("-gap").removesuffix("-gmp")
    base = find_architecture(backbone if backbone in MODELS.names() else name)
    offered = {p.name: p for p in base.published()}
    path = base.fetch(str(weights)) if str(weights) in offered else Path(weights)
    if not path.is_file():
        raise InputError(f"there is no weights file {weights}; give {' or '.join(['a file', *offered])}")
    checkpoint = read_checkpoint(path)
    own = network.state_dict()
    taken = {}
    for key, value in own.items():
        theirs = checkpoint.state.get(key, checkpoint.state.get(key.removeprefix("backbone.body.")))
        if theirs is None or theirs.shape != value.shape:
            continue
        if theirs.is_floating_point() == value.is_floating_point():
            taken[key] = theirs
    if not any(own[key].dim() > 1 for key in taken):
        raise InputError(f"{path} has no layer that fits {name}; check --weights")
    check_finite(taken, path)
    network.load_state_dict(taken, strict=False)
    left = tuple(key for key in own if key not in taken and not key.endswith("num_batches_tracked"))
    published = next((p for p in offered.values() if p.matches(checkpoint.sha256, weights)), None)
    known = checkpoint.facts or published
    preprocessing = known.preprocessing if known else base.preprocessing()
    if published and backbone in _TRANSFORMING:
        preprocessing = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return InitReport(preprocessing, checkpoint.sha256, left)


# torchvision's own weights of these want (x - 0.5) / 0.5, which its networks make of the usual input by themselves.
_TRANSFORMING = ("googlenet", "inception_v3")
