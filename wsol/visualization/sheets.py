"""From what networks guess of a photo to what is drawn of it: maps prepared, boxes in the photo's frame, words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.metrics.iou import best_iou
from wsol.protocols import Protocol
from wsol.reports.overlay import Panel, Sheet
from wsol.visualization.photos import LoadedPhoto, Photo
from wsol.visualization.predictions import PhotoPrediction

_HEAT = 512  # pixels of a map's longer side that are kept to be drawn


@dataclass(frozen=True, eq=False)
class Located:
    """Guesses with their boxes.

    Attributes:
        guesses: One network's and method's, with ``m`` maps.
        heats: ``m`` maps as the protocol thresholds them, in [0, 1], made smaller where they are large.
        boxes: float64 ``(m, 4)``, half-open edges in the photo's frame; NaN where there is none.
        ious: float64 ``(m,)``, with the best true box, as the protocol counts it; NaN where no truth is known.
    """

    guesses: PhotoPrediction
    heats: list[NDArray[np.float32]]
    boxes: NDArray[np.float64]
    ious: NDArray[np.float64]


def locate(
    guesses: PhotoPrediction, photo: Photo, seen: LoadedPhoto, protocol: Protocol, taus: NDArray[np.float64]
) -> Located:
    """Draw the box of every map.

    Args:
        guesses: Of the photo.
        photo: Where they come from.
        seen: The photo as it was read.
        protocol: The conventions.
        taus: The threshold, ``(1,)``; none where no threshold enters.
    """
    width, height = protocol.frame(seen.size)
    scale = np.divide([*seen.size, *seen.size], [width, height, width, height])
    truth = [protocol.ground_truth(sample, seen.size) for sample in photo.truth]
    heats, boxes, ious = [], [], []
    for raw in guesses.maps:  # one by one: in a large photo's own resolution maps are large
        prepared = protocol.prepare(protocol.view.assemble(raw[None]), seen.size)
        box = protocol.boxes(prepared, taus)[0, 0]
        there = prepared.max() > 0 and (box[2:] > box[:2]).all()  # a map without foreground has a box of no meaning
        boxes.append(box * scale if there else np.full(4, np.nan))
        ious.append(best_iou(box, np.concatenate(truth)) if there and truth else np.nan)
        heat = Image.fromarray(np.clip(prepared[0], 0, 1))
        heat.thumbnail((_HEAT, _HEAT), Image.Resampling.BILINEAR)
        heats.append(np.asarray(heat))
    return Located(guesses, heats, np.array(boxes), np.array(ious, np.float64))


def lay_out_sheet(
    photo: Photo, seen: LoadedPhoto, rows: Sequence[tuple[str, Located]], classes: Sequence[str]
) -> Sheet:
    """Lay a photo out.

    Args:
        photo: The photo.
        seen: The photo as it was read.
        rows: Label and guesses of each row.
        classes: Names of the classes of the data set that it comes from.
    """
    own = [classes[sample.label] for sample in photo.truth]
    detail = ", ".join(dict.fromkeys(own)) or f"{seen.size[0]} x {seen.size[1]}"
    truth = np.concatenate([np.empty((0, 4)), *(sample.edges for sample in photo.truth)])
    known = {(sample.label, name) for sample, name in zip(photo.truth, own, strict=True)}
    panels = [(label, [*_panels(located, known)]) for label, located in rows]
    return Sheet(photo.name, detail, seen.thumbnail, seen.size, truth, panels)


def percent(probability: float) -> str:
    """Return a probability in percent, with one digit behind the point."""
    return f"{100 * probability:.1f} %" if probability >= 0.0005 else "< 0.1 %"


def _panels(located: Located, known: set[tuple[int, str]]) -> Iterable[Panel]:
    guesses = located.guesses
    named = [*zip(guesses.classes.tolist(), guesses.names, guesses.probabilities.tolist(), strict=True)]
    for k, heat in enumerate(located.heats):
        right = bool(guesses.of_class and named[k][:2] in known)
        words = [percent(named[k][2])] if guesses.of_class else []
        box = None if np.isnan(located.boxes[k, 0]) else located.boxes[k]
        words += ["no box"] if box is None else [] if np.isnan(located.ious[k]) else [f"IoU {located.ious[k]:.2f}"]
        yield Panel(named[k][1] if guesses.of_class else "any class", " · ".join(words), heat, box, right)
