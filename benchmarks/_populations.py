"""Populations of images with known metrics, for ``interval_coverage.py``: of a model, or of a stored run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from wsol.runs.read import read_run

TAUS = np.arange(1, 50) / 50
DELTAS = (0.5, 0.3, 0.5, 0.7)  # of the box, then of the best box of any contour
_EDGES = np.arange(1, 20) / 20  # of the bins of pixels by score


@dataclass(frozen=True)
class Population:
    """All images that data sets are drawn from, with replacement, so that every mean over the population is exact.

    Attributes:
        curves: float32 ``(images, taus)``, the IoU of the box.
        contours: float32 ``(images, taus)``, the IoU of the best box of any contour.
        pixels: float32 ``(images, 2 * bins)``, shares of foreground and background pixels in turn, by score.
        taus: The taus.
        classes: Number of classes; all have as many images, in turn. 1 where they are unknown.
    """

    curves: NDArray[np.float32]
    contours: NDArray[np.float32]
    pixels: NDArray[np.float32] | None
    taus: NDArray[np.float64]
    classes: int

    def hits(self) -> NDArray[np.bool_]:
        """Return the hits of the box, then of contours at each of their deltas, ``(images, 4 * taus)``."""
        curves = (self.curves, self.contours, self.contours, self.contours)
        return np.concatenate([curve >= np.float32(delta) for curve, delta in zip(curves, DELTAS, strict=True)], 1)


def draw_population(classes: int, per_class: int, seed: int = 0) -> Population:
    """Draw images from a model whose curves are like those of SqueezeNet's CAMs on photographs of ImageNet.

    Objects cover 1 to 100 % of an image. A map is a bump of Gaussian shape near the object's center; its width is that
    of the object times a sharpness that varies by class and image, and its four sides wander with tau. Below a floor of
    noise, which varies by image, the box is the whole image. A second contour is found in a fifth of the images.
    """
    rng = np.random.default_rng(seed)
    curves, contours, pixels = zip(
        *(_draw_images(rng, block, per_class) for block in np.array_split(np.arange(classes), max(1, classes // 100))),
        strict=True,
    )
    return Population(*map(np.concatenate, (curves, contours, pixels)), TAUS, classes)


def read_population(folder: Path) -> Population:
    """Return the images of a run at a hundred of its taus; the run needs contours."""
    stats = read_run(folder).results.stats.on_grid
    count = stats.curves.shape[1]
    columns = np.arange(0, count, max(1, count // 100))
    assert stats.contours is not None
    pixels = None
    if stats.pixels is not None:
        shares = stats.pixels / stats.pixels.sum((1, 2), keepdims=True)
        pixels = np.add.reduceat(shares, columns, axis=1).reshape(len(shares), -1).astype(np.float32)
    return Population(stats.curves[:, columns], stats.contours[:, columns], pixels, columns / count, 1)


def _draw_images(
    rng: np.random.Generator, classes: NDArray[np.int64], per_class: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    n, groups = len(classes) * per_class, classes // 400  # classes of a group are alike
    sharpness = np.repeat(rng.normal(0.15 * np.sin(groups), 0.2, len(classes)), per_class)
    largeness = np.repeat(rng.normal(0, 0.5, len(classes)), per_class)
    half = (0.5 * rng.beta(1.7, 1.1, (n, 2)) ** np.exp(largeness)[:, None]).clip(0.04, 0.5)
    center = half + rng.random((n, 2)) * (1 - 2 * half)
    truth = np.concatenate([center - half, center + half], 1)
    sharp = np.exp(rng.normal(-0.62, 0.25, n) + sharpness)
    floor = rng.beta(1.2, 8, n)[:, None]
    boxes = _draw_boxes(rng, center + half * rng.normal(0, 0.2, (n, 2)), half, sharp)
    curves = _ious(np.where((floor > TAUS)[..., None], np.array([0, 0, 1, 1], np.float32), boxes), truth)
    second = _ious(_draw_boxes(rng, center + half * rng.normal(0, 0.4, (n, 2)), half, 0.7 * sharp), truth)
    is_found = (1.5 * floor <= TAUS) & (rng.random((n, 1)) < 0.2)
    return curves, np.maximum(curves, np.where(is_found, second, 0)), _draw_pixels(rng, 4 * half.prod(1))


def _draw_boxes(
    rng: np.random.Generator, center: NDArray[np.float64], half: NDArray[np.float64], sharp: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Draw boxes at every tau, corners ``(n, taus, 4)`` in an image of side 1."""
    radius = np.sqrt(2 * np.log(1 / TAUS)).astype(np.float32)
    boxes = np.empty((len(half), len(TAUS), 4), np.float32)
    for corner in range(4):
        axis, sign = corner % 2, 1 if corner > 1 else -1
        walk = np.cumsum(rng.standard_normal((len(half), len(TAUS)), np.float32) * np.float32(0.015), axis=1)
        width = np.sqrt(0.3 * half[:, axis]) * sharp * np.exp(rng.normal(0, 0.2, len(half)))
        sides = center[:, axis, None].astype(np.float32) + sign * width[:, None].astype(np.float32) * radius * np.exp(
            walk
        )
        boxes[..., corner] = np.clip(sides, 0, 1)
    return boxes


def _ious(boxes: NDArray[np.float32], truth: NDArray[np.float64]) -> NDArray[np.float32]:
    target = truth[:, None].astype(np.float32)
    sides = np.minimum(boxes[..., 2:], target[..., 2:]) - np.maximum(boxes[..., :2], target[..., :2])
    shared = sides.clip(0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (target[..., 2:] - target[..., :2]).prod(-1)
    ious: NDArray[np.float32] = shared / np.maximum(areas - shared, np.float32(1e-9))
    return ious


def _draw_pixels(rng: np.random.Generator, area: NDArray[np.float64]) -> NDArray[np.float32]:
    """Draw shares of pixels by score, whose logits have a logistic distribution inside and outside of the object."""
    shares = np.empty((len(area), len(_EDGES) + 1, 2), np.float32)
    for side, (middle, spread, share) in enumerate(((0.8, 0.8, area), (-1.5, 0.7, 1 - area))):
        location = rng.normal(middle, spread, len(area))[:, None]
        reached = expit((logit(_EDGES) - location) / 0.9)
        shares[..., side] = share[:, None] * np.diff(reached, axis=1, prepend=0, append=1)
    return shares.reshape(len(area), -1)
