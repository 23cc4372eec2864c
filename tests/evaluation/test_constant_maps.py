"""Maps with one value say nothing about the object: no box under any protocol, counted, and named."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import wsol
from wsol.datasets import Dataset, Sample, load_dataset
from wsol.datasets.base import as_boxes
from wsol.models import Model
from wsol.protocols import PROTOCOLS, find_protocol
from wsol.reports.terminal import format_run
from wsol.runs.read import Evaluation

NAMES = [*PROTOCOLS.names(), "zhou2016:box=script", "wsolevaluation:size=112"]


def whole_images(n: int) -> Dataset:
    """Images whose object is the whole image: a box of everything is right."""
    box, size = as_boxes([[0, 0, 60, 40]]), (60, 40)
    samples = tuple(Sample(f"{i}.png", 0, box, "edges", size=size) for i in range(n))
    return Dataset("whole", "test", samples, ("thing",))


def accuracy(result: Evaluation) -> float:
    rows = result.metrics[result.metrics.metric == "gt_known_loc_acc"]
    return float(rows[rows.tau_rule.isna() | (rows.tau_rule == "fixed")].value.item())


@pytest.mark.parametrize("name", NAMES)
def test_constant_maps_are_zeros(name: str) -> None:
    protocol = find_protocol(name)
    for value in [*np.random.default_rng(0).uniform(-3, 3, 40).tolist(), 0, 1e30]:
        for shape in ((7, 7), (1, 1), (13, 10)):
            assert not protocol.prepare(np.full((1, *shape), value, np.float32), (50, 40)).any()
    ten = find_protocol("zhou2016").view
    maps = np.broadcast_to(np.random.default_rng(1).random((2, 10, 1, 1)).astype(np.float32), (2, 10, 7, 7))
    assert not protocol.prepare_view(ten, maps, (50, 40)).any()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [*((name, (7, 7)) for name in NAMES), ("exact", (1, 1))])
def test_raw_maps_in_files(tmp_path: Path, name: str, shape: tuple[int, int]) -> None:
    """The same numbers in single and double precision, in a type of integers, and one map that is not constant."""
    values = np.random.default_rng(0).uniform(-3, 3, 3).astype(np.float32)
    images, accuracies = whole_images(4), []
    for dtype in (np.float32, np.float64):
        folder = tmp_path / np.dtype(dtype).name
        folder.mkdir()
        for i, value in enumerate(values):
            np.save(folder / f"{i}.npy", np.full(shape, value, dtype))
        np.save(folder / "3.npy", np.arange(9, dtype=dtype).reshape(3, 3))
        result = wsol.score(maps=folder, dataset=images, protocol=name, raw=True)
        empty_box = find_protocol(name).empty_box
        note = f"3 of 4 score maps are constant and {empty_box}: 0.png, 1.png, 2.png"
        assert result.metadata.notes == (note,)
        assert note in format_run(result, folder)
        accuracies.append(accuracy(result))
        if "whole" in empty_box:
            assert result.predictions.iou[:3].min() > 0.99
        else:
            assert result.predictions.iou[:3].max() < 0.01
    assert accuracies[0] == accuracies[1]


def test_single_and_double_precision_give_the_same_numbers() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[20.0, 10, 150, 180]])
    for name, raw in [*((name, True) for name in NAMES), ("wsolevaluation", False)]:
        protocol, noise = find_protocol(name), rng.random((14, 14) if raw else (224, 224))
        for score_map in (noise, 0.2 + 1e-7 * noise, np.rint(255 * noise) / 255):
            single = score_map.astype(np.float32)
            stats = [
                protocol.score_map_stats(protocol.prepare_external(values, (90, 70), raw), truth)
                for values in (single, single.astype(np.float64))
            ]
            np.testing.assert_array_equal(stats[0].boxes, stats[1].boxes)
            np.testing.assert_array_equal(stats[0].curve, stats[1].curve)
    whole = rng.integers(2**31 - 1000, 2**31, (30, 20))  # neighbors that single precision cannot tell apart
    for name in NAMES:
        protocol = find_protocol(name)
        prepared = [protocol.prepare_external(whole.astype(dtype), (60, 40), True) for dtype in (np.int32, np.int64)]
        np.testing.assert_array_equal(*prepared)
        if name in ("exact", "wsolevaluation"):
            shifted = protocol.prepare_external(whole - 2**31, (60, 40), True)
            np.testing.assert_array_equal(prepared[0], shifted)


def test_normalized_maps_are_taken_unchanged_and_named(tmp_path: Path) -> None:
    """As in the evaluator of Choe et al.; zeros are what it makes of constant maps."""
    for i, value in enumerate((0.3, 0, 1)):
        np.save(tmp_path / f"{i}.npy", np.full((224, 224), value))
    result = wsol.score(maps=tmp_path, dataset=whole_images(3))
    whole, none = result.metadata.notes
    assert re.match(r"2 of 3 maps are constant; wsolevaluation takes .* whole image .*--raw.*: 0.png, 2.png", whole)
    assert none == "1 of 3 score maps are constant and give no box: 1.png"
    assert accuracy(result) == pytest.approx(200 / 3)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["wsolevaluation", "zhou2016"])
def test_a_network_that_ignores_the_image_is_named(synthetic_model: Model, tmp_path: Path, protocol: str) -> None:
    torch.nn.init.zeros_(synthetic_model.network.linear.weight)
    images = load_dataset("synthetic").limit(3)
    folder = tmp_path / "run"
    result = wsol.evaluate(synthetic_model, dataset=images, protocol=protocol, batch_size=2, out=folder)
    first = ", ".join(sample.image_id for sample in images)
    note = f"3 of 3 score maps are constant and give no box: {first}"
    assert note in result.metadata.notes
    assert note in (folder / "report.html").read_text()
    assert accuracy(result) == 0
    pointing = result.metrics[result.metrics.metric == "pointing_game"]
    assert pointing.value.item() == 0  # a map with one value has no highest pixel
    for name in ("exact", "zhou2016:box=script"):
        again = wsol.score(run=folder, protocol=name)
        assert again.metadata.notes == result.metadata.notes
        assert accuracy(again) == 0
