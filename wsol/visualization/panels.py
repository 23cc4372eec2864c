"""Panels of a photo: prepared maps, boxes in the photo's frame, and captions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.metrics.iou import best_iou
from wsol.protocols import Protocol
from wsol.reports.overlay import MapPanel, PhotoPanels
from wsol.visualization.photos import LoadedPhoto, Photo
from wsol.visualization.predictions import PhotoPrediction

_MAX_HEAT_SIDE = 512  # pixels of a heat map's longer side


@dataclass(frozen=True, eq=False)
class LocalizedPrediction:
    """A prediction with the box of each map.

    Attributes:
        prediction: The prediction, with ``m`` maps.
        heats: ``m`` maps as the protocol thresholds them, in [0, 1], downsampled if large.
        boxes: float64 ``(m, 4)``, half-open edges in the photo's frame; NaN if there is none.
        ious: float64 ``(m,)``, IoU with the best true box, as the protocol computes it; NaN if there is no ground
            truth.
    """

    prediction: PhotoPrediction
    heats: list[NDArray[np.float32]]
    boxes: NDArray[np.float64]
    ious: NDArray[np.float64]


def localize_prediction(
    prediction: PhotoPrediction, photo: Photo, loaded: LoadedPhoto, protocol: Protocol, taus: NDArray[np.float64]
) -> LocalizedPrediction:
    """Compute the box of every map.

    Args:
        prediction: The prediction for the photo.
        photo: The photo.
        loaded: The photo as it was read.
        protocol: The protocol that prepares maps and computes boxes.
        taus: The threshold, ``(1,)``; empty if the protocol uses no threshold.
    """
    window, frame = protocol.window, protocol.frame(loaded.size)
    truth = [protocol.ground_truth(sample, loaded.size) for sample in photo.truth]
    heats, boxes, ious = [], [], []
    for score_map in prediction.maps:  # one by one: in a large photo's own resolution maps are large
        prepared = protocol.prepare_view(protocol.view, score_map[None], loaded.size)
        box = protocol.boxes(prepared, taus)[0, 0]
        valid = prepared.max() > 0 and (box[2:] > box[:2]).all()  # the box of a map without foreground is meaningless
        boxes.append(window.to_image(box, frame, loaded.size) if valid else np.full(4, np.nan))
        ious.append(best_iou(box, np.concatenate(truth)) if valid and truth else np.nan)
        heat = Image.fromarray(np.clip(window.uncrop(prepared[0]), 0, 1))
        heat.thumbnail((_MAX_HEAT_SIDE, _MAX_HEAT_SIDE), Image.Resampling.BILINEAR)
        heats.append(np.asarray(heat))
    return LocalizedPrediction(prediction, heats, np.array(boxes), np.array(ious, np.float64))


def arrange_panels(
    photo: Photo, loaded: LoadedPhoto, rows: Sequence[tuple[str, LocalizedPrediction]], classes: Sequence[str]
) -> PhotoPanels:
    """Arrange a photo and its maps in rows of panels.

    Args:
        photo: The photo.
        loaded: The photo as it was read.
        rows: Label and prediction of each row.
        classes: Class names of the data set that the photo comes from.
    """
    true_names = [classes[sample.label] for sample in photo.truth]
    detail = ", ".join(dict.fromkeys(true_names)) or f"{loaded.size[0]} x {loaded.size[1]}"
    truth = np.concatenate([np.empty((0, 4)), *(sample.edges for sample in photo.truth)])
    true_classes = {(sample.label, name) for sample, name in zip(photo.truth, true_names, strict=True)}
    panels = [(label, [*_panels(localized, true_classes)]) for label, localized in rows]
    return PhotoPanels(photo.name, detail, loaded.thumbnail, loaded.size, truth, panels)


def format_percent(probability: float) -> str:
    """Return a probability in percent, with one decimal."""
    return f"{100 * probability:.1f} %" if probability >= 0.0005 else "< 0.1 %"


def _panels(localized: LocalizedPrediction, true_classes: set[tuple[int, str]]) -> Iterable[MapPanel]:
    """Yield the panel of each map; a class is correct if number and name are those of the ground truth."""
    prediction = localized.prediction
    ranked = [*zip(prediction.classes.tolist(), prediction.names, prediction.probabilities.tolist(), strict=True)]
    for k, heat in enumerate(localized.heats):
        correct = bool(prediction.class_specific and ranked[k][:2] in true_classes)
        details = [format_percent(ranked[k][2])] if prediction.class_specific else []
        box = None if np.isnan(localized.boxes[k, 0]) else localized.boxes[k]
        if box is None:
            details.append("no box")
        elif not np.isnan(localized.ious[k]):
            details.append(f"IoU {localized.ious[k]:.2f}")
        name = ranked[k][1] if prediction.class_specific else "class-agnostic"
        yield MapPanel(name, " · ".join(details), heat, box, correct)
