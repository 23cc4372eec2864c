"""The source that ``wsol.score`` scores: a run, maps, boxes or a baseline, on the images that its caller named."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wsol.datasets import (
    SPLITS,
    Dataset,
    Split,
    check_dataset,
    has_pseudo_boxes,
    load_dataset,
    with_content,
    with_pseudo_boxes,
)
from wsol.datasets.base import Corners
from wsol.errors import InputError
from wsol.evaluation.sources.baseline import score_baseline
from wsol.evaluation.sources.boxes import score_boxes
from wsol.evaluation.sources.maps import Maps, score_maps
from wsol.evaluation.sources.predicted_classes import PredictedClasses, read_predicted_classes
from wsol.evaluation.sources.run import score_run
from wsol.protocols import Protocol
from wsol.runs.provenance import Provenance
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock


@dataclass(frozen=True)
class NamedImages:
    """Loads splits of the data set that the caller of ``score`` named; the attributes are its arguments."""

    dataset: str | Dataset | None
    metadata: str | Path | None
    data_root: str | Path | None
    dataset_args: Mapping[str, str] | None
    limit: int | None

    @property
    def is_given(self) -> bool:
        """True if images are named; a run needs none."""
        return self.dataset is not None or self.metadata is not None

    def load(self, split: Split | None) -> Dataset:
        """Load a split; by default ``test``, or the one that the metadata folder is named after.

        Raises:
            InputError: No images are named, or the split has no boxes.
        """
        if (self.dataset is None) == (self.metadata is None):
            raise InputError("give the images: either dataset or metadata")
        if isinstance(self.dataset, Dataset):
            check_dataset(self.dataset)
            return self.dataset
        if self.metadata is not None:
            name = Path(self.metadata).name
            own: Split = next((each for each in SPLITS if each == name), "test")
            images = load_dataset("metadata", self.metadata, split or own, self.dataset_args)
        else:
            images = load_dataset(str(self.dataset), self.data_root, split or "test", self.dataset_args)
        if images.split == "train":
            raise InputError(f"{images.name}: the split train has image labels only; score on test or val")
        return images


@dataclass(frozen=True)
class Source:
    """The source of boxes: exactly one of run, maps, boxes and baseline is set. For the attributes see ``score``."""

    run: Path | None
    maps: Maps | None
    val_maps: Maps | None
    boxes: Path | None
    baseline: str | None
    predictions: Path | pd.DataFrame | None
    val_predictions: Path | pd.DataFrame | None
    protocol: Protocol
    images: NamedImages
    raw: bool
    corners: Corners | None
    skip_bad: bool
    exact_images: bool
    attribution: bool
    val_boxes: Path | None

    def score(
        self,
        dataset: Dataset | None,
        tau_index: int | None,
        pool: Executor,
        clock: Clock,
        val: bool = False,
        pseudo: bool = False,
    ) -> tuple[Provenance, LocalizationResults]:
        """Score one split; a run has its own ``dataset``, whose boxes are replaced by pseudo boxes if ``pseudo``."""
        if self.run is not None:
            load = self.images.load if self.images.is_given else None
            folder = self.run / "val" if val else self.run
            annotate = self._annotate if pseudo else None
            return score_run(folder, self.protocol, pool, clock, load, tau_index, self.attribution, annotate)
        assert dataset is not None
        images = dataset if self.images.limit is None else dataset.limit(self.images.limit)
        images = with_content(images, self.exact_images, self.protocol.uses_masks)
        if self.boxes is not None:
            predicted = self._read_predictions(self.predictions, images, dataset)
            more = (self.corners, self.skip_bad, pool, clock, predicted)
            return score_boxes(self.boxes, images, dataset, self.protocol, *more)
        if self.baseline is not None:
            return score_baseline(self.baseline, images.localizable(), self.protocol, pool, clock, self.attribution)
        maps = self.val_maps if val else self.maps
        assert maps is not None
        predicted = self._read_predictions(self.val_predictions if val else self.predictions, images, dataset)
        settings = (self.protocol, self.raw, self.skip_bad, pool, clock, tau_index, predicted, self.attribution)
        return score_maps(maps, images, dataset, *settings)

    def _annotate(self, images: Dataset) -> Dataset:
        assert self.val_boxes is not None
        if has_pseudo_boxes(images):
            raise InputError(f"{self.run} was evaluated with pseudo boxes; give a run with the data set's own boxes")
        return with_pseudo_boxes(images, self.val_boxes)

    def _read_predictions(
        self, source: Path | pd.DataFrame | None, images: Dataset, dataset: Dataset
    ) -> PredictedClasses | None:
        return None if source is None else read_predicted_classes(source, images, dataset, self.skip_bad)
