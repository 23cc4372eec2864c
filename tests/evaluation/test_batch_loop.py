"""The loop over batches: what worker processes send is what threads compute."""

import dataclasses
from pathlib import Path

import killed_processes
import numpy as np
import pytest
from killed_processes import content

import wsol
from wsol.datasets import Mask, _images, load_dataset
from wsol.evaluation import finish
from wsol.evaluation.batches import _PackedMask

PROTOCOL = "wsolevaluation:step=0.05"


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 16), (17, 9)])
def test_a_packed_mask_is_the_mask(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    foreground, ignore = rng.random((2, *shape)) < 0.4
    unpacked = _PackedMask.pack(Mask(foreground, ignore))()
    assert unpacked.foreground.dtype == unpacked.ignore.dtype == bool
    assert (unpacked.foreground == foreground).all()
    assert (unpacked.ignore == ignore).all()
    assert unpacked.foreground.shape == shape


def test_processes_and_threads_write_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_dataset("synthetic", dataset_args={"images": "12"})
    class_only = dataclasses.replace(images.samples[5], boxes=np.empty((0, 4)), class_only=True, mask=None)
    images = dataclasses.replace(images, samples=(*images.samples[:5], class_only, *images.samples[6:]))
    for name, least, workers in (("threads", 1000, 1), ("processes", 0, 3)):
        monkeypatch.setattr(_images, "_MIN_FOR_PROCESSES", least)
        monkeypatch.setattr(finish, "_MIN_FOR_PROCESSES", least)
        options = {"dataset": images, "batch_size": 5, "workers": workers, "device": "cpu", "protocol": PROTOCOL}
        wsol.evaluate(killed_processes.tiny(12), out=tmp_path / name / "run", **options)
    expected = content(tmp_path / "threads" / "run")
    assert content(tmp_path / "processes" / "run") == expected
    assert {"pixels.npy", "class_only_ranks.npy", "thumbnails/000/000010.jpg"} <= {*expected}
    assert len([name for name in expected if name.startswith("thumbnails/")]) == 11
