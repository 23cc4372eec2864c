"""Contents of ``run.json``: what a run is. It is written last, so that its presence means that the run is complete."""

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from wsol.datasets import Content
from wsol.errors import InputError, first_line
from wsol.io.arrays import read_json
from wsol.io.records import parse_record
from wsol.runs.provenance import Provenance
from wsol.runs.signature import Signature

_PACKAGES = ("wsol", "torch", "torchvision", "numpy", "pandas", "pillow", "numba")


@dataclass(frozen=True)
class DatasetRecord:
    """The evaluated images.

    Attributes:
        name: Registered name of the data set.
        split: ``test`` or ``val``.
        origin: Source of a split that is not the data set's own; empty otherwise.
        n: Number of images that the numbers are computed from.
        fingerprint: SHA-256 (hex) over ids, labels, boxes and sizes.
        content: SHA-256s (hex) of images and masks.
        classes: Class names in label order.
    """

    name: str
    split: str
    origin: str
    n: int
    fingerprint: str
    content: Content
    classes: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class TauRecord:
    """The threshold of a run's predictions.

    Attributes:
        rule: How it was chosen; None where no threshold applies.
        value: The threshold.
        fixed: The threshold of the rule ``fixed`` in the tables; None if they have no such rule.
    """

    rule: Literal["fixed", "val", "oracle"] | None
    value: float | None
    fixed: float | None


@dataclass(frozen=True)
class ValidationRecord:
    """Images of the validation split: those skipped, with the reason, and the number of clipped boxes."""

    skipped: dict[str, str]
    clipped_boxes: int


@dataclass(frozen=True)
class Cost:
    """Cost of a run.

    Attributes:
        ms_per_image: Wall time of one process from image file to IoU curve.
        forwards_per_image: Forward passes per image, at least up to the target layer; crops and masked copies count.
        peak_memory_mib: Of the GPU, or of the whole process without one; None if the system does not tell. Of several
            processes, the first.
    """

    ms_per_image: float
    forwards_per_image: float
    peak_memory_mib: float | None


@dataclass(frozen=True)
class RunMetadata:
    """Everything that ``run.json`` holds.

    Attributes:
        signature: Everything that decides a number, in one line.
        request: The signature without what is only known after the run.
        dataset: The evaluated images.
        provenance: Origin of the score maps or boxes.
        protocol: Signature of the protocol.
        tau: The threshold.
        skipped: Reason by image id of the images that are left out.
        clipped_boxes: Number of ground-truth boxes that leave their image by up to one pixel.
        val: The validation split that tau was chosen on, if it was.
        notes: What deserves a second look, one sentence each.
        versions: Python and the packages that affect numbers.
        seconds: Wall time per stage.
        cost: Cost of the network and the method, if one ran.
        checksums: SHA-256 (hex) by file of the run.
        checksum: SHA-256 (hex) over all other entries.
    """

    signature: str
    request: str
    dataset: DatasetRecord
    provenance: Provenance
    protocol: str
    tau: TauRecord
    skipped: dict[str, str]
    clipped_boxes: int
    val: ValidationRecord | None
    notes: tuple[str, ...]
    versions: dict[str, str]
    seconds: dict[str, float]
    cost: Cost | None = None
    checksums: dict[str, str] | None = None
    checksum: str | None = None


def read_metadata(folder: Path) -> RunMetadata:
    """Read ``run.json``.

    Args:
        folder: Folder of the run. Its thumbnails are checked too, since pages and other runs copy them unread.

    Raises:
        FileNotFoundError: There is none.
        ValueError: An entry is missing, unknown, or not what a run writes.
    """
    metadata = parse_record(RunMetadata, read_json(folder / "run.json"), "run.json")
    Signature.parse(metadata.signature)
    tau = metadata.tau
    if (tau.rule is None) != (tau.value is None):
        raise ValueError("run.json: tau has a rule without a value, or a value without a rule")
    if not all(each is None or 0 <= each <= 1 for each in (tau.value, tau.fixed)):
        raise ValueError("run.json: tau is outside [0, 1]")
    _check_thumbnails(folder / "thumbnails")
    return metadata


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect numbers."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}


@contextlib.contextmanager
def as_input_errors(folder: Path, kind: str) -> Iterator[None]:
    """Turn whatever the files of a run raise inside the context into an error that says how to fix it.

    Args:
        folder: Folder of the run.
        kind: What the folder is not if a file is missing, and how to fix that.

    Raises:
        InputError: Something was raised.
    """
    try:
        yield
    except FileNotFoundError as error:
        reason = _why_no_run(folder) or f"{error.filename} is missing: {folder} is no {kind}"
        raise InputError(reason) from error
    except Exception as error:  # readers raise anything on damaged files
        message = first_line(error)
        reason = message if type(error) in (ValueError, InputError) else f"{type(error).__name__}: {message}"
        raise InputError(f"{folder} is not a run of this version ({reason:.200}); evaluate again") from error


def find_weights(folder: Path) -> Path | None:
    """Return the first weights file that ``wsol.train`` wrote into a folder or one inside it; None without any."""
    files = (*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors"))  # no deeper: the folder may be a disk
    weights = (path for path in files if (path.parent / "log.csv").is_file())
    return min((path for path in weights if path.name != "state.safetensors"), default=None)


def _why_no_run(folder: Path) -> str:
    """Return what a folder is that is not even an incomplete run, and how to fix that; empty if it may be one."""
    if not folder.exists():
        return f"there is no folder {folder}; give one that wsol.eval or wsol.score wrote"
    if (folder / "run.json").exists():
        return ""
    if runs := sorted(path.parent for path in folder.glob("*/run.json") if path.parent.name != "val"):
        return f"{folder} is no run but contains some; give one of them, such as {runs[0]}"
    if weights := find_weights(folder):
        return f"{folder} holds a training, no run; evaluate its weights: python -m wsol.eval --weights {weights}"
    return ""


def _check_thumbnails(folder: Path) -> None:
    """Refuse links and special files: a link would be followed to wherever it points."""
    if folder.is_symlink():
        raise ValueError(f"{folder.name} is a link")
    if folder.exists():
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _check_thumbnails(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise ValueError(f"{folder.name}/{entry.name} is no file but a link or a pipe")
