"""Initial weights of a training."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from wsol.errors import InputError
from wsol.models.base import MODELS, Preprocessing
from wsol.models.checkpoint import check_finite, read_checkpoint
from wsol.models.loading import find_architecture


@dataclass(frozen=True)
class InitReport:
    """The weights that a training starts from.

    Attributes:
        preprocessing: Preprocessing that the weights expect.
        sha256: SHA-256 of the file, hex.
        missing: Names of the network's tensors that the file did not fill; they keep their random initialization.
        notes: Choices made in reading the file that deserve a second look, one sentence each.
    """

    preprocessing: Preprocessing
    sha256: str
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load_matching(network: nn.Module, name: str, weights: str | Path) -> InitReport:
    """Load every tensor whose name and shape match the network, in place; others keep their random initialization.

    Args:
        network: The network to be trained.
        name: Its registered name; published weights are those of its backbone.
        weights: A file, or the name of published weights.

    Returns:
        A report of the weights that were loaded.

    Raises:
        InputError: There are no such weights, or no tensor fits.
    """
    backbone = (
        name.partition("+")[0].partition("-tap:")[0].removesuffix("-gap").removesuffix("-gmp").removesuffix("-tap")
    )
    base = find_architecture(backbone if backbone in MODELS.names() else name)
    published = {p.name: p for p in base.published_weights()}
    path = base.fetch(str(weights)) if str(weights) in published else Path(weights)
    if not path.is_file():
        raise InputError(f"there is no weights file {weights}; give {' or '.join(['a file', *published])}")
    checkpoint = read_checkpoint(path)
    target = network.state_dict()
    spellings = {key: _spell(key) for key in target}
    state = checkpoint.select([each for names in spellings.values() for each in names])
    matching = {}
    for key, value in target.items():
        stored = next((state[each] for each in spellings[key] if each in state), None)
        if stored is None or stored.shape != value.shape:
            continue
        if stored.is_floating_point() == value.is_floating_point():
            matching[key] = stored
    if not any(target[key].dim() > 1 for key in matching):
        raise InputError(f"{path} has no layer that fits {name}; check --weights")
    check_finite(matching, path)
    network.load_state_dict(matching, strict=False)
    missing = tuple(key for key in target if key not in matching and not key.endswith("num_batches_tracked"))
    origin = next((p for p in published.values() if p.matches(checkpoint.sha256, weights)), None)
    source = checkpoint.metadata or origin
    preprocessing = source.preprocessing if source else base.preprocessing()
    if origin and backbone in _TRANSFORMS_INPUT:
        preprocessing = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return InitReport(preprocessing, checkpoint.sha256, missing, checkpoint.notes)


def _spell(key: str) -> list[str]:
    """Return the names that a tensor has in its own network, in the backbone, and below the head of another method."""
    for prefix in ("backbone.body.", "features.body."):
        if key.startswith(prefix):
            rest = key.removeprefix(prefix)
            return [key, rest, f"backbone.body.{rest}", f"features.body.{rest}"]
    return [key]


# torchvision's own weights of these expect (x - 0.5) / 0.5, which its networks compute from the usual input.
_TRANSFORMS_INPUT = ("googlenet", "inception_v3")
