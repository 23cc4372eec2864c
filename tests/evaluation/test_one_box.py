"""One box for all predictions, and hits above delta: from every source of maps and boxes to the files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.datasets import Dataset, Sample, load_dataset
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.leaderboards.verify import verify_checksums, verify_tables
from wsol.models import Model
from wsol.runs.read import Evaluation, read_run

SIZE = (256, 256)  # the crop is the image less 16 pixels on each side
BOX = [26.0, 26, 36, 47]  # in the crop 10, 10, 20, 31
NAMES = ("a", "b", "c")
LABELS = (0, 1, 2)
RIGHT, HALF, WRONG = (10, 10, 20, 31), (10, 10, 20, 20), (100, 100, 200, 200)
"""Pixels of a map whose box has an IoU above, of exactly, and below 1/2; x + w is an inclusive corner."""


@pytest.fixture
def images() -> Dataset:
    samples = [
        Sample(name, label, np.array([BOX]), "inclusive", size=SIZE) for name, label in zip(NAMES, LABELS, strict=True)
    ]
    return Dataset("three", "test", tuple(samples), tuple("pqrstu"))


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    score_map = np.zeros((224, 224))
    score_map[y0:y1, x0:x1] = 1
    return score_map


def rank(*classes: tuple[int, ...]) -> pd.DataFrame:
    """Predictions of the three images."""
    rows = [(name, place, each) for name, own in zip(NAMES, classes, strict=True) for place, each in enumerate(own, 1)]
    return pd.DataFrame(rows, columns=["image_id", "rank", "class"])


PREDICTIONS = rank((0, 1, 2, 3, 4), (5, 1, 2, 3, 4), (4, 3, 1, 0, 5))  # first, second, and not at all


def fixed(result: Evaluation) -> dict[str, float]:
    rows = result.metrics[(result.metrics.tau_rule == "fixed") | result.metrics.tau_rule.isna()]
    return dict(zip(rows.metric, rows.value, strict=True))


def score(images: Dataset, protocol: str, **arguments: object) -> Evaluation:
    return wsol.score(dataset=images, protocol=protocol, bootstrap=0, **arguments)  # type: ignore[arg-type]  # by name


def test_top5_localization_is_missing_without_the_map_of_the_first_class(images: Dataset) -> None:
    maps = {"a": block(*RIGHT), "b": block(*RIGHT), "c": block(*WRONG)}
    result = score(images, "crop224", maps=maps, predictions=PREDICTIONS)
    found = fixed(result)
    assert "top5_loc_err" not in found
    assert found["top1_loc_err"] == pytest.approx(200 / 3)
    assert found["top5_cls_err"] == pytest.approx(100 / 3)
    assert found["gt_known_loc_acc"] == pytest.approx(200 / 3)
    assert any("top-5 localization error is left out" in note for note in result.metadata.notes)
    boxes = result.predictions.set_index(["image_id", "rank"]).x0
    assert boxes["a"].tolist() == [10] * 6  # its first class is its own
    assert boxes["b"].isna().tolist() == [False, *[True] * 5]
    each = score(images, "tscam", maps=maps, predictions=PREDICTIONS)
    assert fixed(each)["top5_loc_err"] == 100  # the maps are of another frame
    assert not any("left out" in note for note in each.metadata.notes)


def test_an_agnostic_map_is_that_of_all_guesses(images: Dataset) -> None:
    maps = {"a": block(*RIGHT), "b": block(*RIGHT), "c": block(*RIGHT)}
    result = score(images, "crop224:agnostic=true", maps=maps, predictions=PREDICTIONS)
    found = fixed(result)
    assert found["gt_known_loc_acc"] == 100
    assert found["top1_loc_err"] == pytest.approx(200 / 3)
    assert found["top5_loc_err"] == pytest.approx(100 / 3)
    assert (result.predictions.x0 == 10).all()
    assert result.metadata.notes == ()
    frame = score(images, "crop224:agnostic=true", maps=maps)  # without predictions
    assert "top5_loc_err" not in fixed(frame)


def test_maps_of_several_classes(images: Dataset, tmp_path: Path) -> None:
    """The first class's map decides: right in b, whose own class comes second; wrong in c."""
    own = {"a": (RIGHT, (0, 1)), "b": (RIGHT, (5, 1)), "c": (WRONG, (4, 2))}
    for name, (first, classes) in own.items():
        other = WRONG if first == RIGHT else RIGHT
        np.savez(tmp_path / f"{name}.npz", maps=np.stack([block(*first), block(*other)]), classes=np.array(classes))
    predictions = rank((0, 1, 2, 3, 4), (5, 1, 2, 3, 4), (4, 2, 1, 0, 5))
    result = score(images, "crop224", maps=tmp_path, predictions=predictions)
    found = fixed(result)
    assert found["gt_known_loc_acc"] == pytest.approx(200 / 3)  # a and c
    assert found["top1_loc_err"] == pytest.approx(200 / 3)
    assert found["top5_loc_err"] == pytest.approx(100 / 3)  # a and b
    table = result.predictions.set_index(["image_id", "rank"])
    assert table.x0["b"].tolist() == [100, 10, 10, 10, 10, 10]
    assert table.error["b"].tolist() == ["other", "class", "correct", "class", "class", "class"]
    assert table.error["c"][2] == "other"


@pytest.mark.parametrize(("protocol", "known", "guess"), [("crop224", 0, 0), ("crop224:paper=sat", 1, 1)])
def test_an_iou_of_exactly_one_half(images: Dataset, protocol: str, known: int, guess: int) -> None:
    maps = dict.fromkeys(NAMES, block(*HALF))
    result = score(
        images, f"{protocol}{',' if ':' in protocol else ':'}agnostic=true", maps=maps, predictions=PREDICTIONS
    )
    assert (result.predictions["iou"] == 0.5).all()
    found = fixed(result)
    assert found["gt_known_loc_acc"] == 100 * known
    assert found["top1_loc_err"] == pytest.approx(100 - 100 * guess / 3)
    assert found["top5_loc_err"] == pytest.approx(100 - 200 * guess / 3)
    first = result.predictions[result.predictions["rank"] == 1].error.tolist()
    assert first == ["correct" if guess else "part", "class", "class"]


def test_boxes_of_classes(images: Dataset, tmp_path: Path) -> None:
    good, bad = "26,26,36,47", "126,126,226,226"
    rows = [
        ("a", good, 0, 2),
        ("a", bad, 1, 1),
        ("b", good, 5, 2),
        ("b", bad, 1, 1),
        ("c", bad, 4, 2),
        ("c", good, 2, 1),
    ]
    path = tmp_path / "boxes.csv"
    text = "".join(f"{name},{box},{label},{value}\n" for name, box, label, value in rows)
    path.write_text("image_id,x0,y0,x1,y1,class_id,score\n" + text)
    found = fixed(score(images, "crop224", boxes=path, out=tmp_path / "out"))
    assert found["top5_loc_err"] == pytest.approx(100 / 3)  # a and b
    assert found["gt_known_loc_acc"] == pytest.approx(200 / 3)  # a and c
    assert fixed(score(images, "wsolevaluation", boxes=path))["top5_loc_err"] == pytest.approx(100 / 3)  # a and c
    run = read_run(tmp_path / "out")
    assert run.results.stats.first is not None
    with ThreadPoolExecutor(1) as pool:
        assert verify_tables(run, pool) == []


def test_the_streaming_metric() -> None:
    """Maps of all classes have the first one's; those of the true class alone have not."""
    maps = np.stack([[block(*RIGHT), block(*WRONG)], [block(*WRONG), block(*RIGHT)]])
    boxes, labels, logits = [np.array(BOX)] * 2, [1, 1], [[2, 1], [2, 1]]  # class 0 comes first
    metric = wsol.LocalizationMetric("crop224", corners="inclusive", interval=True)
    metric.update(maps.astype(np.float32), boxes, labels, logits)
    found = metric.compute()
    assert (found["gt_known_loc_acc"], found["top1_loc_err"], found["top5_loc_err"]) == (50, 100, 50)
    assert "top5_loc_err.ci_low" in found
    double = wsol.LocalizationMetric("crop224", corners="inclusive")
    double.update(maps, boxes, labels, logits)
    assert double.compute()["top5_loc_err"] == 50
    own = wsol.LocalizationMetric("crop224", corners="inclusive")
    own.update(maps[:, 1], boxes, labels, logits)
    with pytest.raises(InputError, match="maps of all classes"):
        own.update(maps, boxes, labels, logits)
    assert "top5_loc_err" not in own.compute()
    assert own.compute()["top1_loc_err"] == 100
    agnostic = wsol.LocalizationMetric("crop224:agnostic=true", corners="inclusive")
    agnostic.update(maps[:, 1], boxes, labels, logits)
    assert agnostic.compute()["top5_loc_err"] == 50


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["crop224", "tscam"])
def test_a_run_is_read_verified_and_scored_again(synthetic_model: Model, tmp_path: Path, protocol: str) -> None:
    images = load_dataset("synthetic").limit(8)
    result = wsol.evaluate(
        synthetic_model, dataset=images, protocol=protocol, batch_size=3, tau="oracle", out=tmp_path / "run"
    )
    run = read_run(tmp_path / "run")
    stats = run.results.stats
    assert (tmp_path / "run" / "curves_first.npy").exists() == (protocol == "crop224") == (stats.first is not None)
    assert (stats.one_box, stats.strict) == ((True, "all") if protocol == "crop224" else (False, "predictions"))
    with ThreadPoolExecutor(1) as pool:
        assert verify_tables(run, pool) == []
    assert verify_checksums(tmp_path / "run") == []
    again = wsol.score(run=tmp_path / "run", protocol=protocol, tau="oracle")
    pd.testing.assert_frame_equal(again.metrics, result.metrics)
    pd.testing.assert_frame_equal(again.predictions, result.predictions)
    # The tables count what the metrics count.
    table = result.predictions
    hits = {
        k: table[(table["rank"] >= 1) & (table["rank"] <= k)].groupby("image_id").error.agg(lambda e: "correct" in {*e})
        for k in (1, 5)
    }
    tau_index = int(np.abs(run.taus - run.metadata.tau.value).argmin())
    for k, found in hits.items():
        in_top = (stats.ranks >= 1) & (stats.ranks <= k)
        assert found.sum() == (in_top & stats.prediction_hits(k)[:, tau_index]).sum()


def test_an_image_without_an_object_needs_no_box_of_its_first_class(images: Dataset, tmp_path: Path) -> None:
    """Metrics of boxes do not count it, so what its first class lacks is not missed."""
    normal = Sample("d", 0, as_boxes([]), "inclusive", size=SIZE, empty=True)
    mixed = replace(images, samples=(*images.samples, normal))
    ranks = pd.DataFrame([("d", rank, each) for rank, each in enumerate((3, 4, 5, 2, 1), 1)])
    table = pd.concat([PREDICTIONS, ranks.set_axis(PREDICTIONS.columns, axis=1)])
    for name, classes in zip(NAMES, ((0, 1), (5, 1), (4, 2)), strict=True):
        np.savez(tmp_path / f"{name}.npz", maps=np.stack([block(*RIGHT)] * 2), classes=np.array(classes))
    expected = fixed(score(images, "crop224", maps=tmp_path, predictions=PREDICTIONS, attribution=True))
    assert expected["top5_loc_err"] == pytest.approx(100 / 3)
    np.savez(tmp_path / "d.npz", maps=block(*RIGHT)[None], classes=np.array([1]))  # neither its first nor its own class
    out = tmp_path / "out"
    result = score(mixed, "crop224", maps=tmp_path, predictions=table, attribution=True, out=out)
    found = fixed(result)
    for metric, value in expected.items():
        assert metric.endswith("cls_err") or found[metric] == value, metric
    run = read_run(out)
    assert run.results.stats.complete
    assert run.results.stats.peaks is not None
    with ThreadPoolExecutor(1) as pool:
        assert verify_tables(run, pool) == []
    path = tmp_path / "boxes.csv"
    rows = [
        f"{name},26,26,36,47,{label}"
        for name, labels in zip(NAMES, ((0,), (1, 5), (2, 4)), strict=True)
        for label in labels
    ]
    path.write_text("image_id,x0,y0,x1,y1,class_id\n" + "\n".join(rows) + "\n")
    found = fixed(score(mixed, "crop224", boxes=path, predictions=table))
    assert found["top5_loc_err"] == pytest.approx(100 / 3)
