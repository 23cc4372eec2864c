"""Data structures of data sets: samples with published boxes, their frame, and a fingerprint."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.io.display import UNPRINTABLE, printable, quote
from wsol.registry import Registry

T = TypeVar("T")

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Corners = Literal["edges", "inclusive", "one-based"]
"""Convention of published corners. The box of the top-left pixel alone is

- ``edges``: (0, 0, 1, 1), half-open pixel edges (COCO);
- ``inclusive``: (0, 0, 0, 0), the first and the last pixel, counted from 0 (ILSVRC, Tiny ImageNet);
- ``one-based``: (1, 1, 1, 1), the first and the last pixel, counted from 1 (PASCAL VOC).
"""
TO_EDGES: dict[str, tuple[float, float, float, float]] = {
    "edges": (0, 0, 0, 0),
    "inclusive": (0, 0, 1, 1),
    "one-based": (-1, -1, 0, 0),
}


@dataclass(frozen=True)
class Mask:
    """A pixel annotation in the annotation's frame.

    Attributes:
        foreground: bool ``(height, width)``, the object.
        ignore: bool ``(height, width)``, pixels that metrics ignore.
    """

    foreground: NDArray[np.bool_]
    ignore: NDArray[np.bool_]


class MaskReader(ABC):
    """A ``mask`` of a sample that is identified without being decoded, by the files and the text that it comes from."""

    @abstractmethod
    def __call__(self) -> Mask:
        """Read the pixel annotation."""

    @abstractmethod
    def source(self) -> tuple[Sequence[Path], str]:
        """Return the files whose content decides the mask, and whatever else decides it."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and class to localize.

    Attributes:
        image_id: Unique in the data set; the published id or path.
        label: Class index, counted from 0 in the data set's class order.
        boxes: float64 ``(n, 4)``, the published corners ``(x0, y0, x1, y1)`` untouched, in the annotation's frame.
        corners: Convention of these corners.
        path: The image file; None where a data set consists of lists alone.
        size: ``(width, height)`` of the annotation's frame; None where the annotation has none and the frame is the
            image file's own pixel grid.
        mask: Reads the pixel annotation, where there is one; best a ``MaskReader``.
        render: Generates the image, uint8 ``(height, width, 3)``, where it is not a file.
        coco: Image id and category id, which identify the sample in COCO's results.
        class_only: Whether only classification counts the image, which then has no boxes: it is on a list of images
            that are excluded from localization.
        empty: Whether the image shows no object, as a normal patch of a data set of lesions: it has no boxes, and its
            mask, if there is one, no foreground. Classification and metrics of pixels count it, those of boxes do not.
        margins: Pixels at the left, top, right and bottom of the stored image that are cut off before anything else,
            such as a banner. The frame is the image without them.
    """

    image_id: str
    label: int
    boxes: NDArray[np.float64]
    corners: Corners
    path: Path | None = None
    size: tuple[int, int] | None = None
    mask: Callable[[], Mask] | None = None
    render: Callable[[], NDArray[np.uint8]] | None = None
    coco: tuple[int, int] | None = None
    class_only: bool = False
    empty: bool = False
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The boxes as half-open pixel edges, float64 ``(n, 4)``: the top-left pixel alone is (0, 0, 1, 1)."""
        return np.add(self.boxes, TO_EDGES[self.corners])


@dataclass(frozen=True)
class Content:
    """SHA-256s (hex) of what the files of a data set contain, see ``with_content``; empty where there is none.

    Attributes:
        images: Over the sizes of all image files and the bytes of 64 of them, evenly spaced.
        all_images: Over the bytes of all image files, if this was asked for.
        masks: Over the masks, if the protocol uses them; ``generated`` for those of a generated data set.
    """

    images: str = ""
    all_images: str = ""
    masks: str = ""

    def suffix(self, mask_rule: str = "") -> str:
        """Return the suffix of a data set in a signature: ``+images:1a2b3c4d+masks:5e6f7a8b``, for what there is.

        Args:
            mask_rule: As in ``Dataset``: ``+masks(cut=0.5):5e6f7a8b``.
        """
        images = ".".join(digest[:8] for digest in (self.images, self.all_images) if digest)
        rule = f"({mask_rule})" if mask_rule else ""
        masks = rule if self.masks == GENERATED else f"{rule}:{self.masks[:8]}"
        return (f"+images:{images}" if images else "") + (f"+masks{masks}" if self.masks else "")


GENERATED = "generated"


@dataclass(frozen=True)
class Dataset:
    """The samples of one split.

    Attributes:
        name: Registered name.
        split: ``train``, ``val`` or ``test``.
        samples: In the published order.
        classes: Class names in label order.
        origin: Source of the split if it is not the data set's own, such as ``tenth-of-train,seed=0``.
        generated: Whether images and masks follow from name, split, origin and image ids alone.
        content: Fingerprints of the files, for the signature of a run; None if they were not computed.
        notes: What deserves a second look, such as annotations that were left out, one sentence each.
        synsets: WordNet ids of the classes in label order, such as ``n01440764``; empty where they are unknown.
        mask_rule: Convention of the masks where their files leave a choice, such as ``cut=0.5``; part of a signature
            where the masks are.
    """

    name: str
    split: Split
    samples: tuple[Sample, ...] = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    origin: str = ""
    generated: bool = False
    content: Content | None = None
    notes: tuple[str, ...] = field(default=(), repr=False)
    synsets: tuple[str, ...] = field(default=(), repr=False)
    mask_rule: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def limit(self, n: int) -> "Dataset":
        """Return at most ``n`` samples, evenly spaced, so that a data set sorted by class keeps its class balance."""
        if n < 1:
            raise InputError(f"a limit of {n} leaves no image; give 1 or more")
        indices = np.arange(min(n, len(self))) * len(self) // min(n, len(self))
        return self.subset(indices.tolist())

    def localizable(self) -> "Dataset":
        """Return the samples that localization counts."""
        return self.subset([i for i, sample in enumerate(self.samples) if not sample.class_only])

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """Return the samples at these indices; ``content`` stays that of all samples."""
        return replace(self, samples=tuple(self.samples[i] for i in indices))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over image ids, labels, published boxes, corner convention and sizes, in order.

        It needs no file; ``content`` has the fingerprints of images and masks.
        """
        digest = hashlib.sha256()
        for s in self.samples:
            digest.update(f"{s.image_id}\0{s.label}\0{s.corners}\0{s.size}\0{len(s.boxes)}\0".encode())
            digest.update(s.boxes.astype("<f8").tobytes())
        return digest.hexdigest()

    @property
    def signature(self) -> str:
        """``name-split#n:fingerprint``, with an origin in brackets, and with the fingerprints of images and masks."""
        origin = f"({self.origin})" if self.origin else ""
        content = self.content.suffix(self.mask_rule) if self.content else ""
        return f"{self.name}-{self.split}{origin}#{len(self)}:{self.fingerprint[:8]}{content}"


Adapter = Callable[..., Dataset]
"""Reader of one data set in its original layout: ``adapter(root, split, **arguments)``, with arguments of type str.

The adapter of a generated data set takes no root: ``adapter(split, **arguments)``.
"""

DATASETS: Registry[Adapter] = Registry("data set", "wsol.datasets")

ZIPPED: set[str] = set()
"""Data sets whose root may be a zip archive: the adapter reads files by ``wsol.io`` alone. Each adds its own name."""


def as_boxes(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return corner rows as float64 ``(n, 4)``, even for no rows."""
    return np.asarray(rows, np.float64).reshape(-1, 4)


TENTH_OF_TRAIN = "tenth-of-train,seed=0"

MAX_PIXELS = 2 * 89_478_485
"""Limit for the frame of an annotation: PIL's limit for images."""


def hold_out_tenth(items: Sequence[T], split: Split, seed: int = 0) -> tuple[T, ...]:
    """Split a training set that has boxes: a seeded tenth becomes ``val``, the rest remains ``train``.

    Args:
        items: The training set.
        split: The split to return, ``train`` or ``val``.
        seed: Seed of the random choice; ``TENTH_OF_TRAIN`` names the default.

    Returns:
        The items of the split, in their order.
    """
    held_out = set(np.random.default_rng(seed).permutation(len(items))[: len(items) // 10].tolist())
    return tuple(item for i, item in enumerate(items) if (i in held_out) == (split == "val"))


def check_dataset(dataset: Dataset) -> None:
    """Check that every sample can be evaluated.

    Raises:
        InputError: There is no sample, the name is not allowed in a signature, an id is not unique, an id or a class
            name cannot be printed, a frame is empty or enormous, a label names no class, or, except in ``train``, a
            sample that should show an object has no box, or a box that is not finite, empty or inverted, or no sample
            shows an object.
    """
    if not dataset.samples:
        raise InputError(f"{dataset.name}: the split {dataset.split!r} has no image")
    if all(sample.empty for sample in dataset.samples):
        raise InputError(f"{dataset.name}: no image of the split {dataset.split!r} shows an object; add some that do")
    if not dataset.name.isprintable() or "|" in dataset.name:
        raise InputError(
            f"a data set cannot be named {dataset.name!r}: | separates the fields of signatures; give another name"
        )
    for label, name in enumerate(dataset.classes):
        if UNPRINTABLE.search(name):
            raise InputError(
                f"{dataset.name}: the name of class {label}, {quote(name)}, has a character that cannot be printed; "
                "rename it"
            )
    seen: set[str] = set()
    invalid = _find_invalid_boxes(dataset.samples)
    for i, sample in enumerate(dataset.samples):
        if not sample.image_id or UNPRINTABLE.search(sample.image_id):
            raise InputError(
                f"{dataset.name} {dataset.split}: the id {quote(sample.image_id)} is empty or has a character that "
                "cannot be printed; rename the image"
            )
        fault = "is listed twice; keep one entry" if sample.image_id in seen else _find_fault(sample, dataset)
        if not fault and i in invalid:
            fault = (
                f"has an empty, inverted or non-finite box {sample.boxes[invalid[i]].tolist()} ({sample.corners} "
                "corners x0, y0, x1, y1); fix the annotation"
            )
        if fault:
            raise InputError(f"{dataset.name} {dataset.split}: {printable(sample.image_id)} {fault}")
        seen.add(sample.image_id)


def _find_fault(sample: Sample, dataset: Dataset) -> str:
    """Return what is wrong with a sample, its boxes left out; empty if nothing is."""
    if sample.class_only and len(sample.boxes):
        return "has a box, although it counts in classification only; leave out the box"
    if sample.empty and (sample.class_only or len(sample.boxes)):
        what = "counts in classification only" if sample.class_only else "has a box"
        return f"is said to show no object, but {what}; keep one of the two"
    size = sample.size
    if size is not None and not 1 <= min(size) <= max(size) <= MAX_PIXELS // min(size):
        shown = f"{_format_count(size[0])} x {_format_count(size[1])}"
        return f"has the size {shown}; fix the annotation (at most {MAX_PIXELS:,} pixels)"
    if not 0 <= sample.label < len(dataset.classes):
        return f"has label {_format_count(sample.label)}, outside 0 to {len(dataset.classes) - 1}"
    if dataset.split != "train" and not len(sample.boxes) and not (sample.class_only or sample.empty):
        is_tenth = dataset.origin == TENTH_OF_TRAIN
        remedy = (
            f"assign images with boxes to {dataset.split}, now a tenth of train"
            if is_tenth
            else "remove it from the split"
        )
        return f"has no box; annotate it or {remedy}"
    return ""


def _find_invalid_boxes(samples: Sequence[Sample]) -> dict[int, int]:
    """Return the first box of each sample that has one that is empty, inverted or not finite, by the sample's index."""
    counts = [len(sample.boxes) for sample in samples]
    owners = np.repeat(np.arange(len(samples)), counts)
    starts = np.cumsum(counts) - counts
    edges = np.concatenate([sample.boxes for sample in samples])
    edges = edges + np.array([TO_EDGES[sample.corners] for sample in samples])[owners]
    invalid = ~np.isfinite(edges).all(1) | (edges[:, 2:] <= edges[:, :2]).any(1)
    first: dict[int, int] = {}
    for box in np.flatnonzero(invalid).tolist():
        owner = int(owners[box])
        first.setdefault(owner, box - int(starts[owner]))
    return first


def _format_count(number: int) -> str:
    """Format an integer, as a power of ten if it has more than 15 digits."""
    return str(number) if abs(number) < 10**15 else f"{number:.3g}"


def count_clipped(sample: Sample, size: tuple[int, int]) -> int:
    """Count the boxes that exceed the frame by up to one pixel, as happens in real annotations.

    Args:
        sample: A sample with boxes.
        size: ``(width, height)`` of its frame.

    Raises:
        InputError: A box exceeds the frame by more than a pixel.
    """
    if not len(sample.boxes):
        return 0
    frame = np.array([0, 0, *size], np.float64)
    excess = (np.array([-1, -1, 1, 1]) * (sample.edges - frame)).max(axis=1)
    if (excess > 1).any():
        box = tuple(sample.boxes[int(excess.argmax())].tolist())
        raise InputError(
            f"{printable(sample.image_id)}: the box {box} is {excess.max():g} pixels outside its "
            f"{size[0]} x {size[1]} frame; fix the annotation, its size, or the corner convention ({sample.corners})"
        )
    return int((excess > 0).sum())
