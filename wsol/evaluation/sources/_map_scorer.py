"""Scores the external maps of one image: statistics of its ground-truth class, boxes of all its classes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.errors import first_line
from wsol.evaluation.sources._class_names import is_class_index
from wsol.evaluation.sources._faults import Faults
from wsol.evaluation.sources._map_files import ImageMaps, Reader
from wsol.evaluation.sources.predicted_classes import TOP, PredictedClasses, Ranking
from wsol.io.display import list_first
from wsol.metrics.image_stats import ImageStats
from wsol.protocols import Protocol
from wsol.protocols.attributions import compare_with_region, external_attribution
from wsol.protocols.ground_truths import GroundTruths
from wsol.runs.heat_maps import HeatMaps

Boxes = dict[int, NDArray[np.float64]]
"""Boxes ``(4,)`` by class."""


class MapScorer:
    """Scores images in any order and from any thread, and keeps what is needed after the last one.

    Args:
        protocol: The protocol.
        dataset: The data set, which has the classes.
        truths: Ground truth of each image.
        readers: Readers of maps by image id.
        raw: Whether maps are a network's own output.
        faults: Gets what is wrong with the maps.
        tau_index: Index of the threshold of the boxes; None if it is not known yet.
        predicted: Predicted classes that another classifier made.
        attribution: Whether the maps are compared with the regions of the objects.

    Attributes:
        heat_maps: Small maps for display.
        digests: Hash of the maps of each image.
        constant: Whether the map of the ground-truth class has a box, for constant ones, by image index.
        rankings: Predicted classes by image index, if there are any.
        boxes: Boxes at the threshold by image index, if it is known.
        without_own: Indices of the images without a map of their ground-truth class.
    """

    def __init__(
        self,
        protocol: Protocol,
        dataset: Dataset,
        truths: GroundTruths,
        readers: Mapping[str, Reader],
        raw: bool,
        faults: Faults,
        tau_index: int | None,
        predicted: PredictedClasses | None,
        attribution: bool = False,
    ) -> None:
        self._protocol, self._dataset, self._truths, self._readers = protocol, dataset, truths, readers
        self._raw, self._faults, self._tau_index, self._predicted = raw, faults, tau_index, predicted
        self._attribution = attribution
        self.heat_maps = HeatMaps(len(truths))
        self.digests: list[bytes] = [b""] * len(truths)
        self.constant: dict[int, bool] = {}
        self.rankings: dict[int, Ranking] = {}
        self.boxes: dict[int, Boxes] = {}
        self.without_own: set[int] = set()

    def image_stats(self, i: int) -> ImageStats | None:
        """Return the statistics of an image; None if it is left out, and the faults say why."""
        sample = self._truths.samples[i]
        name = sample.image_id
        if name not in self._readers or (self._predicted and name not in self._predicted.rankings):
            return None
        maps: dict[int, NDArray[np.generic]] = {}
        try:
            image_maps = _read(self._readers[name])
            ranking = self._rank(name, image_maps)
            maps = self._select(image_maps, sample.label, ranking)
            if ranking and sample.label not in maps and (rank := ranking.rank(sample.label)):
                raise ValueError(f"the ground-truth class is predicted at rank {rank}, but it has no map")
            stats = self._score(i, maps, ranking)
        except ValueError as error:
            self._faults.add("unusable", name, str(error), name)
            if not self._raw and maps and self._is_raw(i, maps):
                self._faults.advice = "give --raw for a network's own maps, of any size and range, fix them"
            return None
        self.digests[i] = _hash(image_maps)
        if ranking:
            self.rankings[i] = ranking
        return stats

    def boxes_at(self, tau_index: int, i: int) -> Boxes:
        """Return the boxes of an image that has statistics at any threshold, by class; its maps are read again."""
        sample = self._truths.samples[i]
        maps = self._select(_read(self._readers[sample.image_id]), sample.label, self.rankings.get(i))
        tau = self._protocol.taus[tau_index : tau_index + 1]
        return {label: self._protocol.boxes(self._prepare(i, each)[None], tau)[0, 0] for label, each in maps.items()}

    def list_notes(self, kept: Sequence[int]) -> list[str]:
        """Return what deserves a second look about the images that have statistics."""
        notes = []
        samples = self._truths.samples
        if whole := [samples[i].image_id for i in kept if self.constant.get(i)]:
            notes.append(
                f"{len(whole)} of {len(kept)} maps are constant; {self._protocol.name} takes normalized maps "
                f"unchanged, so their box is the whole image (a network's own output needs --raw): {list_first(whole)}"
            )
        without = [samples[i].image_id for i in kept if i in self.without_own and samples[i].empty]
        if without and self._protocol.uses_masks:
            notes.append(
                f"{len(without)} images that show no object have no map of their own class, so metrics of pixels are "
                f"left out: {list_first(without)}"
            )
        firsts = [i in self.rankings and self.rankings[i].classes[0] == samples[i].label for i in kept]
        if not self._predicted and len(kept) > 1 and all(firsts):
            notes.append(
                "the first class of every image's maps is its ground-truth class, so the top-1 classification error is "
                "0; if the order of the maps is not that of a classifier, give its predictions"
            )
        return notes

    def _rank(self, name: str, image_maps: ImageMaps) -> Ranking | None:
        """Return the predicted classes: those of the file, or those of the maps in their order.

        Raises:
            ValueError: Maps and classes do not belong together.
        """
        values, classes = image_maps.values, image_maps.classes
        if classes is None:
            return self._predicted.rankings[name] if self._predicted else None
        if values.ndim != 3 or classes.shape != values.shape[:1] or not len(values):
            raise ValueError(f"has maps {values.shape} and classes {classes.shape}, not (k, h, w) and (k,)")
        if classes.dtype.kind not in "iu":
            raise ValueError(f"its classes are {classes.dtype}, not integers")
        labels = classes.tolist()
        if unknown := [label for label in labels if not is_class_index(label, self._dataset)]:
            raise ValueError(
                f"{unknown[0]} is no class of {self._dataset.name}, which has {len(self._dataset.classes)}"
            )
        if len({*labels}) < len(labels):
            raise ValueError("it has two maps of one class")
        if self._predicted:
            return self._predicted.rankings[name]
        return Ranking(tuple(labels), (float("nan"),) * len(labels))

    @staticmethod
    def _select(image_maps: ImageMaps, label: int, ranking: Ranking | None) -> dict[int, NDArray[np.generic]]:
        """Return the maps that are used, by class, that of the ground-truth class first, if there is one."""
        if image_maps.classes is None:
            return {label: image_maps.values}
        every = dict(zip(image_maps.classes.tolist(), image_maps.values, strict=True))
        used = dict.fromkeys((label, *(ranking.classes[:TOP] if ranking else ())))
        return {each: every[each] for each in used if each in every}

    def _score(self, i: int, maps: Mapping[int, NDArray[np.generic]], ranking: Ranking | None) -> ImageStats:
        protocol, truth, tau_index = self._protocol, self._truths[i], self._tau_index
        stats = None
        boxes: Boxes = {}
        first_label, first = self._first_label(maps, ranking), None
        for label, values in maps.items():
            prepared = self._prepare(i, values)
            if label != truth.sample.label:
                if tau_index is not None:
                    boxes[label] = protocol.boxes(prepared[None], protocol.taus[tau_index : tau_index + 1])[0, 0]
                if label == first_label:
                    first = protocol.score_map_stats(prepared, truth.boxes).curve
                continue
            stats = truth.score_map_stats(protocol, prepared)
            if self._attribution:
                stats = replace(stats, attribution=external_attribution(protocol, values, prepared, truth))
            first = stats.curve if label == first_label else first
            self.heat_maps.keep(i, protocol.window.uncrop(prepared))
            if values.min() == values.max():
                self.constant[i] = bool(prepared.max() > 0)
            if tau_index is not None:
                boxes[label] = stats.boxes[tau_index if len(stats.boxes) > 1 else 0]
        self.boxes[i] = boxes
        if stats is None:
            self.without_own.add(i)
            width, height = protocol.frame(truth.size)
            nothing = np.zeros((height, width), np.float32)
            stats = _clear(protocol.score_map_stats(nothing, truth.boxes))
            if self._attribution and truth.sample.empty:
                stats = replace(stats, attribution=compare_with_region(protocol, truth, nothing, nothing))
        if protocol.one_box and first is None and truth.sample.empty:
            first = np.zeros_like(stats.curve)  # no box can be right, so its map is not missed
        return replace(stats, first=first)

    def _first_label(self, maps: Mapping[int, NDArray[np.generic]], ranking: Ranking | None) -> int | None:
        """Return the class whose map gives ``ImageStats.first``; None where there is none, or no need of it."""
        if not self._protocol.one_box:
            return None
        if ranking and ranking.classes[0] in maps:
            return ranking.classes[0]
        return next(iter(maps), None) if self._protocol.agnostic else None

    def _prepare(self, i: int, values: NDArray[np.generic]) -> NDArray[np.floating]:
        return self._protocol.prepare_external(values, self._truths[i].size, self._raw)

    def _is_raw(self, i: int, maps: Mapping[int, NDArray[np.generic]]) -> bool:
        """Return whether maps are only unusable because they are a network's own output."""
        try:
            for values in maps.values():
                self._protocol.prepare_external(values, self._truths[i].size, raw=True)
        except ValueError:
            return False
        return True


def _read(reader: Reader) -> ImageMaps:
    try:
        return reader()
    except Exception as error:  # broken files raise anything from zlib's errors to MemoryError
        raise ValueError(f"cannot be read: {first_line(error)}") from error


def _hash(image_maps: ImageMaps) -> bytes:
    """Return a hash of the values, dtype and shape of the maps, and of the class indices."""
    values = image_maps.values
    content = np.ascontiguousarray(values).tobytes() + f"{values.dtype.str}{values.shape}".encode()
    if image_maps.classes is not None:
        content += f"{image_maps.classes.tolist()}".encode()
    return hashlib.blake2b(content, digest_size=16).digest()


def _clear(stats: ImageStats) -> ImageStats:
    """Return statistics of the same shapes for an image without a map: no box at any threshold."""
    names = ("boxes", "curve", "contours", "second")
    zeros = {name: np.zeros_like(array) for name in names if (array := getattr(stats, name)) is not None}
    return replace(stats, **zeros, peak_inside=False)
