"""Decoded and augmented batches, whoever computes them."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets import Dataset, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import ImageError
from wsol.training import Stage, decoding
from wsol.training.augment import ShiftFlipColor
from wsol.training.decoding import start_decoder

STAGES = (Stage(1, 24, 5), Stage(1, 40, 3))
ORDER = [7, 3, 0, 12, 9, 1, 8, 2, 11, 4, 6, 10, 5]
Pixels = NDArray[np.uint8]


def draw(i: int) -> Pixels:
    return np.random.default_rng(i).integers(0, 256, (30, 37, 3), dtype=np.uint8)


def make_datasets(broken: Sequence[int] = ()) -> Any:
    """Thirteen images for every stage; some of them are missing files."""
    samples = []
    for i in range(13):
        source = {"path": Path(f"/nowhere/{i}.png")} if i in broken else {"render": lambda i=i: draw(i)}
        samples.append(Sample(str(i), 0, as_boxes([]), "edges", size=(37, 30), **source))
    images = Dataset("thirteen", "train", tuple(samples), ("one",))
    return SimpleNamespace(stages=STAGES, load=lambda *_: images)


def batches(stage: Stage) -> list[list[int]]:
    return [ORDER[i : i + stage.batch_size] for i in range(0, 13, stage.batch_size)]


def square(i: int, side: int) -> Image.Image:
    return Image.fromarray(draw(i)).resize((side, side), Image.Resampling.BILINEAR)


def augment_plainly(image: Pixels, key: list[int]) -> Pixels:
    """The whole image enlarged by its mirror images, then cut, flipped, and multiplied."""
    rng, side = np.random.default_rng(key), len(image)
    reach = side // 8
    top, left = reach + rng.integers(-reach, reach + 1, 2)
    enlarged = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), "symmetric")
    cut = enlarged[top : top + side, left : left + side]
    cut = cut[:, ::-1] if rng.random() < 0.5 else cut
    return np.minimum(cut * (rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)), 255).astype(np.uint8)


@pytest.mark.parametrize("side", [1, 7, 8, 33, 64])
def test_augmentation_flips_shifts_and_recolors(side: int) -> None:
    for i in range(40):
        found = ShiftFlipColor().augment(Image.fromarray(draw(i)), side, [0, 1, i])
        np.testing.assert_array_equal(found, augment_plainly(np.asarray(square(i, side)), [0, 1, i]))


@pytest.mark.parametrize("processes", [True, False])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_batches_are_the_same_whoever_decodes(processes: bool, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_MIN_FOR_PROCESSES", 1 if processes else 1000)
    with start_decoder(make_datasets(), 4, workers) as decoder:
        for stage, epoch in ((STAGES[0], 2), (STAGES[1], None), (STAGES[0], None), (STAGES[1], 0)):
            found = [pixels.copy() for pixels in decoder.decode(stage, "train", batches(stage), epoch)]
            assert [len(each) for each in found] == [len(each) for each in batches(stage)]
            for i, pixels in zip(ORDER, np.concatenate(found), strict=True):
                image = np.asarray(square(i, stage.image_size))
                np.testing.assert_array_equal(pixels, image if epoch is None else augment_plainly(image, [4, epoch, i]))


def test_a_batch_stays_until_the_next_is_asked_for() -> None:
    many = batches(STAGES[1]) * 6  # far more than slots
    with start_decoder(make_datasets(), 0, 3) as decoder:
        for pixels in decoder.decode(STAGES[1], "train", many, 1):
            before = pixels.copy()
            time.sleep(0.002)
            np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("processes", [True, False])
def test_the_first_image_that_cannot_be_read_is_named(processes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_MIN_FOR_PROCESSES", 1 if processes else 1000)
    with start_decoder(make_datasets(broken=[4, 6, 1]), 0, 3) as decoder:
        found = decoder.decode(STAGES[0], "train", batches(STAGES[0]), 0)
        next(found)
        with pytest.raises(ImageError, match=r"/nowhere/1\.png is missing"):
            next(found)


def test_what_is_not_used_does_not_reach_later_batches() -> None:
    with start_decoder(make_datasets(), 0, 2) as decoder:
        begun = decoder.decode(STAGES[1], "train", batches(STAGES[1]) * 4, 5)
        next(begun)
        begun.close()
        (pixels,) = decoder.decode(STAGES[0], "train", [[2, 8]])
        np.testing.assert_array_equal(pixels, np.stack([square(i, 24) for i in (2, 8)]))
