"""Provenance of score maps or boxes: the network, file or baseline that made them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsol.protocols import View


@dataclass(frozen=True)
class WeightsFile:
    """Name and SHA-256 (hex) of a weights file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Normalization:
    """Channel mean and standard deviation that an RGB image in [0, 1] is normalized with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class NetworkRecord:
    """The network that made score maps, and how it ran.

    Attributes:
        model: Registered name.
        weights: The weights file.
        preprocessing: Input normalization.
        map_size: Side of the maps of a 224 x 224 image, if it was chosen.
        layer: Name of the target layer.
        method: Signature of the method.
        precision: Precision of the layers up to the target layer: ``float32``, ``tf32`` or ``bfloat16``.
        device: Device, as torch spells it.
        recipe: Settings of the training, as ``wsol.train`` stored them in the weights file; None for other weights. No
            part of the signature, which has the hash of the weights.
    """

    model: str
    weights: WeightsFile
    preprocessing: Normalization
    map_size: int | None
    layer: str
    method: str
    precision: str
    device: str
    recipe: dict[str, Any] | None = None


@dataclass(frozen=True)
class ExternalFile:
    """A file or folder of score maps or boxes that were made elsewhere.

    Attributes:
        path: Its name, without the folder.
        sha256: SHA-256 (hex) of its content.
        corners: Corner convention of its boxes; None for maps.
    """

    path: str
    sha256: str
    corners: str | None = None


@dataclass(frozen=True)
class ClassifiedFile(ExternalFile):
    """Score maps or boxes whose predicted classes another classifier made.

    Attributes:
        predictions: The file of the predicted classes.
    """

    predictions: ExternalFile = field(kw_only=True)


@dataclass(frozen=True)
class Provenance:
    """Origin of score maps or boxes, for the signature and ``run.json``.

    Attributes:
        model: Field of the signature.
        method: Field of the signature.
        view: What the network saw of an image; None where the run stores no raw maps.
        network: The network, if one made them.
        external: The file, if they were read from one.
        baseline: The baseline, if it is one.
    """

    model: str
    method: str
    view: View | None = None
    network: NetworkRecord | None = None
    external: ExternalFile | ClassifiedFile | None = None
    baseline: str | None = None

    @property
    def is_ranked_elsewhere(self) -> bool:
        """True if predicted classes, if there are any, are those of a file, or the order of the maps."""
        is_file = isinstance(self.external, ClassifiedFile)
        return is_file or (self.external is not None and self.external.corners is None)


def file_signature(path: Path, digest: str) -> str:
    """Return the signature's name for a file or folder: its stem and the start of the hash (hex) of its content."""
    return f"{path.stem.replace('|', '_')}:{digest[:8]}"
