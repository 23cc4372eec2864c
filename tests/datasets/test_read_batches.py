"""Batches of decoded images: the same from threads and processes, for any number of either."""

import itertools
import os
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from wsol.datasets import Sample, _images, read_batches
from wsol.datasets.base import as_boxes
from wsol.errors import ImageError

BAD = (3, 17)


def render(i: int) -> NDArray[np.uint8]:
    if i in BAD:
        raise ImageError(f"image {i} is broken")
    return np.full((5 + i, 9, 3), i, np.uint8)


SAMPLES = [Sample(str(i), 0, as_boxes([]), "edges", render=partial(render, i)) for i in range(30)]
GOOD = [sample for i, sample in enumerate(SAMPLES) if i not in BAD]


@pytest.fixture(params=["threads", "processes"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(_images, "_MIN_FOR_PROCESSES", 0 if request.param == "processes" else 1000)
    return str(request.param)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 3), (7, 2), (40, 2)])
def test_every_image_is_in_its_place(batch_size: int, workers: int) -> None:
    batches = [*read_batches(SAMPLES, 8, batch_size, workers, True, lambda sample, frame, _: (sample.image_id, frame))]
    assert [i for batch in batches for i in batch.indices] == [i for i in range(30) if i not in BAD]
    assert [each for batch in batches for each in batch.skipped] == [(i, f"image {i} is broken") for i in BAD]
    examined = [each for batch in batches for each in batch.examined]
    assert examined == [(str(i), (9, 5 + i)) for i in range(30) if i not in BAD]
    assert [frame for batch in batches for frame in batch.frames] == [frame for _, frame in examined]
    assert len(batches) == -(-30 // batch_size)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (2, 3), (5, 2)])
def test_two_batches_can_be_used_while_the_next_is_read(batch_size: int, workers: int) -> None:
    window = itertools.pairwise(read_batches(GOOD, 8, batch_size, workers, False))
    numbers = [int(sample.image_id) for sample in GOOD]
    for k, pair in enumerate(window):
        for n, batch in enumerate(pair, k):
            assert batch.pixels[:, 4, 4, 1].tolist() == numbers[n * batch_size : (n + 1) * batch_size]


def test_an_unreadable_image_is_raised_in_its_turn(kind: str) -> None:
    batches = read_batches(SAMPLES, 8, 3, 2, False)
    assert next(batches).indices == [0, 1, 2]
    with pytest.raises(ImageError, match="image 3 is broken"):
        next(batches)
    assert kind


def test_processes_decode_many_images(kind: str) -> None:
    (batch,) = read_batches(GOOD, 8, 99, 2, False, lambda *_: os.getpid())
    assert (os.getpid() in batch.examined) == (kind == "threads")
