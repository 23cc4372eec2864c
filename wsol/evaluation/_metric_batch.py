"""One batch of a streaming metric: everything is checked before anything is counted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.boxes.thresholds import FloatArray
from wsol.datasets import Mask, Sample
from wsol.datasets.base import MAX_PIXELS, TO_EDGES, Corners
from wsol.errors import InputError, first_line
from wsol.evaluation.inference import TOP
from wsol.metrics.base import LocalizationStats
from wsol.metrics.image_stats import stack_stats
from wsol.protocols import Protocol, View
from wsol.protocols.base import GroundTruth, ground_truth_of

Array = Tensor | NDArray[Any] | Sequence[Any]
Frame = Literal["input", "image"]


@dataclass(frozen=True)
class MetricBatch:
    """The maps of some images and their ground truth.

    Attributes:
        view: What the maps are maps of: the whole square, or crops of it.
        maps: float32 or float64 ``(n, 1, h, w)``, or float32 ``(n, 1, crops, h, w)``, the ground-truth class's.
        truths: Ground truth of each image.
        labels: int64 ``(n,)``; zeros where there are none.
        ranks: int64 ``(n,)``, see ``LocalizationStats``; None without logits.
        firsts: The maps of the first predicted classes, as ``maps``; for protocols with one box for all predictions,
            and None where they are not known.
    """

    view: View
    maps: FloatArray
    truths: list[GroundTruth]
    labels: NDArray[np.int64]
    ranks: NDArray[np.int64] | None
    firsts: FloatArray | None = None

    def stats(self, protocol: Protocol) -> LocalizationStats:
        """Score the maps; double precision goes image by image, as for ``wsol.score``."""
        facts: dict[str, Any] = {"labels": self.labels, "ranks": self.ranks}
        rows = self._score(protocol, self.maps)
        facts |= {name: array for name, array in rows.items() if name != "boxes"}  # those are for display
        objects = np.array([len(truth.boxes) > 0 for truth in self.truths])
        facts["objects"] = None if objects.all() else objects
        if self.firsts is not None:
            facts["first"] = self._score(protocol, self.firsts)["curves"]
        elif protocol.one_box and protocol.agnostic:
            facts["first"] = facts["curves"]
        return protocol.make_stats(**facts)

    def _score(self, protocol: Protocol, maps: FloatArray) -> dict[str, NDArray[Any]]:
        if maps.dtype == np.float32:
            rows, _ = protocol.score_batch(self.view, maps, self.truths, self.labels[:, None], None)  # type: ignore[arg-type]  # its dtype is checked
            return rows
        pairs = zip(maps[:, 0], self.truths, strict=True)
        prepared = [(protocol.prepare_external(one, truth.size, raw=True), truth) for one, truth in pairs]
        return stack_stats([truth.score_map_stats(protocol, one) for one, truth in prepared])


@dataclass(frozen=True)
class BatchReader:
    """Reads the arguments of ``LocalizationMetric.update``; attributes as its arguments."""

    protocol: Protocol
    frame: Frame
    corners: Corners
    classes: int | None

    def read(
        self,
        maps: Array,
        boxes: Array,
        labels: Array | None,
        logits: Array | None,
        masks: Array | None,
        sizes: Array | None,
    ) -> MetricBatch | None:
        """Check a batch; return None for one without images.

        Raises:
            InputError: An argument cannot be used.
        """
        maps = _as_tensor(maps, "maps")
        if maps.ndim not in (3, 4, 5):
            raise InputError(
                f"maps have the shape {tuple(maps.shape)}; give (n, h, w), (n, k, h, w), or (n, k, crops, h, w)"
            )
        n = len(maps)
        counts = {"boxes": boxes, "labels": labels, "logits": logits, "masks": masks, "sizes": sizes}
        for name, value in counts.items():
            if value is not None and _length(value, name) != n:
                raise InputError(f"a batch of {n} maps has {_length(value, name)} {name}; give as many as maps")
        if not n:
            return None
        view = self._find_view(maps)
        scores = None if logits is None else self._read_logits(logits)
        classes = self.classes if scores is None else scores.shape[1]
        if classes is None and maps.ndim > 3 and maps.shape[1] > 1:
            classes = maps.shape[1]
        known = None if labels is None else _read_labels(labels, classes)
        if known is None and (logits is not None or self.classes is not None):
            raise InputError("there are no labels; logits and metrics by class need the label of each image")
        own = _select_own(maps, known, classes)
        frames = self._read_sizes(sizes, n)
        filled = np.zeros(n, np.int64) if known is None else known
        read = None if masks is None else [_read_mask(mask, i) for i, mask in enumerate(masks)]
        samples = self._read_samples(boxes, filled, frames, read)
        truths = [ground_truth_of(self.protocol, each, each.size) for each in samples if each.size]
        firsts = None
        if self.protocol.one_box and scores is not None and maps.ndim > 3 and maps.shape[1] == classes:
            firsts = _select_own(maps, _first_classes(scores), classes)
        return MetricBatch(view, own, truths, filled, None if scores is None else _ranks(scores, filled), firsts)

    def _find_view(self, maps: Tensor) -> View:
        view = self.protocol.view
        if maps.ndim < 5:
            return self.protocol.external_view
        if view.crop == view.side or maps.shape[2] != view.count:
            takes = "no crops" if view.crop == view.side else f"{view.count} crops"
            raise InputError(
                f"maps have the shape {tuple(maps.shape)} with {maps.shape[2]} crops, but {self.protocol.signature} "
                f"takes {takes}; give (n, k, h, w) for maps of whole images"
            )
        return view

    def _read_logits(self, logits: Array) -> Tensor:
        scores = _as_tensor(logits, "logits").cpu()
        if scores.ndim != 2 or not scores.shape[1] or self.classes not in (None, scores.shape[1]):
            raise InputError(
                f"logits have the shape {tuple(scores.shape)}; give (n, {self.classes or 'classes'}), a row per image"
            )
        if not bool(torch.isfinite(scores).all()):
            raise InputError(
                f"{_where(torch.isfinite(scores).all(1))} has logits that are not finite; check the network"
            )
        return scores

    def _read_sizes(self, sizes: Array | None, n: int) -> NDArray[np.int64]:
        """Return width and height of the frame of each image's annotation, ``(n, 2)``."""
        if (sizes is None) == (self.frame == "image"):
            raise InputError(
                "boxes in the frame 'image' need sizes, the width and height of each image"
                if sizes is None
                else f"sizes have no effect in the frame {self.frame!r}; give frame='image' if boxes are in pixels of "
                "the original images, or leave sizes out"
            )
        if sizes is None:
            return np.full((n, 2), self.protocol.view.side)
        frames = _as_tensor(sizes, "sizes").cpu().numpy()
        if frames.shape != (n, 2) or not np.issubdtype(frames.dtype, np.integer):
            raise InputError(
                f"sizes are {frames.dtype} of shape {frames.shape}; give integers (n, 2), width and height"
            )
        good = (frames.min(1) >= 1) & (frames.max(1) <= MAX_PIXELS // np.maximum(frames.min(1), 1))
        if not good.all():
            raise InputError(
                f"{_where(good)} has the size {frames[good.argmin()].tolist()}; give width and height, at most "
                f"{MAX_PIXELS:,} pixels"
            )
        return frames.astype(np.int64)

    def _read_samples(
        self, boxes: Array, labels: NDArray[np.int64], frames: NDArray[np.int64], masks: list[Mask] | None
    ) -> list[Sample]:
        """Return the images with their annotations, whose boxes are checked."""
        rows = [
            _read_boxes(each, i, masks) for i, each in enumerate(boxes.cpu() if isinstance(boxes, Tensor) else boxes)
        ]
        owners = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
        published = np.concatenate(rows)
        edges = published + TO_EDGES[self.corners]
        valid = np.isfinite(edges).all(1) & (edges[:, 2:] > edges[:, :2]).all(1)
        inside = (edges[:, :2] >= -1).all(1) & (edges[:, 2:] <= frames[owners] + 1).all(1)  # a pixel is clipped
        for good, problem in ((valid, "is empty, inverted or not finite"), (inside, "is outside the frame")):
            if not good.all():
                i = int(good.argmin())
                width, height = frames[owners[i]]
                raise InputError(
                    f"image {owners[i]} of the batch has the box {published[i].tolist()}, which {problem} "
                    f"of {width} x {height} pixels; give corners x0, y0, x1, y1 in the frame {self.frame!r}, with "
                    f"{self.corners!r} corners, or choose another frame or corners"
                )
        readers = [None] * len(rows) if masks is None else [_Held(mask) for mask in masks]
        return [
            Sample(f"image {i} of the batch", label, own, self.corners, size=(width, height), mask=mask)
            for i, (label, own, (width, height), mask) in enumerate(
                zip(labels.tolist(), rows, frames.tolist(), readers, strict=True)
            )
        ]


@dataclass(frozen=True)
class _Held:
    """A mask in memory; the ``mask`` of a sample."""

    mask: Mask

    def __call__(self) -> Mask:
        return self.mask


def example_stats(protocol: Protocol) -> LocalizationStats:
    """Return statistics of one image with every array that images can have under a protocol."""
    mask = _Held(Mask(np.eye(8, dtype=bool), np.zeros((8, 8), bool))) if protocol.uses_masks else None
    sample = Sample("example", 0, np.array([[1.0, 1.0, 4.0, 4.0]]), "edges", size=(8, 8), mask=mask)
    maps = np.eye(2, dtype=np.float32)[None, None]
    truths, firsts = [ground_truth_of(protocol, sample, (8, 8))], maps if protocol.one_box else None
    batch = MetricBatch(protocol.external_view, maps, truths, np.zeros(1, np.int64), None, firsts)
    return replace(batch.stats(protocol), ranks=np.ones(1, np.int64), objects=np.ones(1, bool))


def _as_tensor(value: Array, name: str) -> Tensor:
    """Return numbers as a tensor, on the device that they are on."""
    try:
        # A copy, as torch cannot read reversed arrays and warns of read-only ones.
        tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} are not an array of numbers ({first_line(error)}); give a tensor or an array"
        ) from error
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise InputError(f"{name} hold {str(tensor.dtype).removeprefix('torch.')}; give numbers")
    return tensor


def _length(value: Array, name: str) -> int:
    try:
        return len(value)
    except TypeError:  # a number, or a tensor without axes
        raise InputError(f"{name} are a single value; give one entry per image") from None


def _where(good: Tensor | NDArray[Any]) -> str:
    """Name the first image that is not good."""
    return f"image {np.asarray(good).argmin()} of the batch"


def _read_labels(labels: Array, classes: int | None) -> NDArray[np.int64]:
    numbers = _as_tensor(labels, "labels").cpu().numpy()
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(f"labels are {numbers.dtype} of shape {numbers.shape}; give integers (n,), the class of each")
    good = (numbers >= 0) & (True if classes is None else numbers < classes)
    if not good.all():
        limit = "at least 0" if classes is None else f"from 0 to {classes - 1}"
        raise InputError(f"{_where(good)} has the label {numbers[good.argmin()]}; labels are {limit}")
    return numbers.astype(np.int64)


def _select_own(maps: Tensor, labels: NDArray[np.int64] | None, classes: int | None) -> FloatArray:
    """Return the map of each image's own class, with an axis of length 1 in place of the classes."""
    if maps.ndim == 3:
        own = maps[:, None]
    elif maps.shape[1] == 1:
        own = maps
    elif labels is None or maps.shape[1] != classes:
        problem = "there are no labels" if labels is None else f"there are {classes} classes"
        raise InputError(
            f"maps have the shape {tuple(maps.shape)}, but {problem}; give the ground-truth class's map of each image, "
            "(n, h, w), or the maps of all classes and labels"
        )
    else:
        own = maps[range(len(maps)), labels.tolist()][:, None]
    if not own.numel():
        raise InputError(f"maps have the shape {tuple(maps.shape)}, without a pixel; give maps of at least 1 x 1")
    values = (own.float() if own.dtype == torch.bfloat16 else own).cpu().numpy()
    is_single = np.can_cast(values.dtype, np.float32) or maps.ndim == 5
    out: FloatArray = values.astype(np.float32) if is_single else values.astype(np.float64)
    finite = np.isfinite(out.reshape(len(out), -1))
    if not finite.all():
        raise InputError(
            f"{_where(np.asarray(finite.all(1)))} has a map with values that are not finite; check the network"
        )
    return out


def _read_boxes(boxes: Array, i: int, masks: list[Mask] | None) -> NDArray[np.float64]:
    """Return the boxes of an image, float64 ``(g, 4)``; none if its mask is empty."""
    if not isinstance(boxes, np.ndarray):
        boxes = _as_tensor(boxes, "boxes").cpu().numpy()
    if not boxes.size:
        if masks is None or masks[i].foreground.any():
            raise InputError(
                f"image {i} of the batch has no box; give boxes (g, 4), at least one, or none and an empty mask if it "
                "shows no object"
            )
        return np.empty((0, 4))
    if boxes.shape[-1:] != (4,) or boxes.ndim > 2 or boxes.dtype.kind not in "fiu":
        raise InputError(f"image {i} of the batch has boxes of shape {boxes.shape}; give boxes (g, 4), at least one")
    return boxes.reshape(-1, 4).astype(np.float64)


def _read_mask(mask: Any, i: int) -> Mask:
    """Return a mask; an array is its foreground."""
    if isinstance(mask, Mask):
        return mask
    values = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if values.ndim != 2 or not values.size:
        raise InputError(f"the mask of image {i} of the batch has the shape {values.shape}; give (height, width)")
    if values.dtype != np.bool_ and not (values.dtype.kind in "fiu" and np.isin(values, (0, 1)).all()):
        raise InputError(
            f"the mask of image {i} of the batch has values other than 0 and 1; give the object as true, or a "
            "wsol.datasets.Mask with pixels to ignore"
        )
    return Mask(values.astype(bool), np.zeros(values.shape, bool))


def _first_classes(logits: Tensor) -> NDArray[np.int64]:
    """Return the first class of each image, int64 ``(n,)``, as ``rank_classes`` ranks them."""
    first: NDArray[np.int64] = logits.double().log_softmax(1).numpy().argmax(1)
    return first


def _ranks(logits: Tensor, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank of each image's class among all, from 1; 0 behind ``TOP``.

    As ``wsol.evaluation.inference.rank_classes`` ranks them, without the sort: by log probabilities in double
    precision, ties go to the smaller class index.
    """
    own = torch.from_numpy(labels)[:, None]
    logs = logits.double().log_softmax(1)
    mine = logs.gather(1, own)
    ahead = (logs > mine).sum(1) + ((logs == mine) & (torch.arange(logs.shape[1]) < own)).sum(1)
    ranks: NDArray[np.int64] = torch.where(ahead < TOP, ahead + 1, 0).numpy()
    return ranks
