"""Score maps of several classes an image, and score maps as Python objects, against the same maps in files."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import wsol
from wsol.datasets import Dataset, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.leaderboards.verify import verify_tables
from wsol.runs.read import Evaluation, read_run

SIDE = 32
PROTOCOL = f"wsolevaluation:step=0.05,size={SIDE}"
CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox")
BOX = (8, 8, 23, 23)
IDS = ("a.png", "b.png", "c.png")
TABLES = ("metrics", "classes", "groups", "errors", "baselines", "predictions")


def images(n: int = 3) -> Dataset:
    """Images of 32 x 32 of the classes 0, 1 and 2, without files."""
    samples = [Sample(name, i, as_boxes([BOX]), "inclusive", size=(SIDE, SIDE)) for i, name in enumerate(IDS[:n])]
    return Dataset("made", "test", tuple(samples), CLASSES)


def lit(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """A map whose box has these inclusive corners: the protocol adds a pixel on the right and below."""
    score_map = np.zeros((SIDE, SIDE), np.float32)
    score_map[y0:y1, x0:x1] = 0.8
    return score_map


HIT, MISS, OTHER = lit(*BOX), lit(28, 28, 30, 30), lit(0, 4, 9, 12)
SEVERAL = {  # the rank of the ground truth is 1, 2 and 2; its box is right in a and b
    "a.png": (np.stack([HIT, OTHER]), np.array([0, 5])),
    "b.png": (np.stack([OTHER, HIT]), np.array([4, 1])),
    "c.png": (np.stack([OTHER, MISS]), np.array([0, 2])),
}
OPTIONS: dict[str, Any] = {"dataset": images(), "protocol": PROTOCOL}


def write(folder: Path, several: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    folder.mkdir()
    for name, (maps, classes) in several.items():
        np.savez(folder / f"{Path(name).stem}.npz", maps=maps, classes=classes)
    return folder


def values(result: Evaluation) -> dict[str, float]:
    rows = result.metrics[result.metrics.tau_rule.isna() | (result.metrics.tau_rule == "fixed")]
    return dict(zip(rows.metric, rows.value, strict=True))


def assert_same(result: Evaluation, expected: Evaluation) -> None:
    assert result.signature == expected.signature
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(result.tables, name), getattr(expected.tables, name), check_exact=True)


@pytest.mark.slow
def test_the_order_of_the_maps_is_the_ranking(tmp_path: Path) -> None:
    result = wsol.score(maps=write(tmp_path / "maps", SEVERAL), out=tmp_path / "out", **OPTIONS)
    found = values(result)
    third = 100 / 3
    expected = {"top1_cls_err": 2 * third, "top1_loc_err": 2 * third, "gt_known_loc_acc": 2 * third}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found.keys().isdisjoint({"top5_cls_err", "top5_loc_err"})  # two ranks of six classes
    assert result.tables.errors.set_index("error").n["class"] == 2
    rows = result.predictions
    assert rows.class_id.tolist() == [0, 0, 5, 1, 4, 1, 2, 0, 2]
    edges = {"hit": [8, 8, 24, 24], "other": [0, 4, 10, 13], "miss": [28, 28, 31, 31]}
    names = ["hit", "hit", "other", "hit", "other", "hit", "miss", "other", "miss"]
    assert rows[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [edges[name] for name in names]
    assert rows.error.tolist()[1::3] == ["correct", "class", "class"]
    assert (tmp_path / "out" / "report.html").exists()
    again = read_run(tmp_path / "out").results.stats
    assert again.ranks.tolist() == [1, 2, 2]
    assert not again.top5
    assert again.complete


def test_five_maps_give_top_5(tmp_path: Path) -> None:
    five = np.stack([OTHER] * 4 + [HIT])
    several = {name: (five, np.roll(range(6), -1 - i)[[0, 1, 2, 3, 5]]) for i, name in enumerate(IDS)}
    found = values(wsol.score(maps=write(tmp_path / "maps", several), **OPTIONS))
    assert {name: found[name] for name in ("top1_cls_err", "top5_cls_err", "top1_loc_err", "top5_loc_err")} == {
        "top1_cls_err": 100,
        "top5_cls_err": 0,
        "top1_loc_err": 100,
        "top5_loc_err": 0,
    }


@pytest.mark.parametrize("tau", [0.2, 0.4])
def test_an_image_without_a_map_of_its_class(tmp_path: Path, tau: float) -> None:
    several = {**SEVERAL, "b.png": (OTHER[None], np.array([4]))}
    folder = write(tmp_path / "maps", several)
    result = wsol.score(maps=folder, tau=tau, out=tmp_path / "out", **OPTIONS)
    assert values(result)["top1_loc_err"] == pytest.approx(200 / 3)
    assert {"gt_known_loc_acc", "mean_iou", "max_box_acc_v2", "pointing_game"}.isdisjoint(result.metrics.metric)
    assert "GT-known accuracy and related metrics are left out" in " ".join(result.metadata.notes)
    own = result.predictions[result.predictions["rank"] == 0]
    assert own.x0.isna().tolist() == [False, True, False]
    assert own.error.tolist()[1] == "none"
    run = read_run(tmp_path / "out")
    with ThreadPoolExecutor(1) as pool:
        assert verify_tables(run, pool) == []
    again = run.results.stats
    assert not again.complete
    assert not again.curves[1].any()
    with pytest.raises(InputError, match="tau oracle is chosen by GT-known accuracy"):
        wsol.score(maps=folder, tau="oracle", **OPTIONS)


def test_an_image_without_a_map_has_no_box(tmp_path: Path) -> None:
    """The protocol's box of an empty map is its first pixel, which is here all of the object."""
    sample = Sample("a.png", 0, as_boxes([[0, 0, 0, 0]]), "inclusive", size=(SIDE, SIDE))
    made = Dataset("made", "test", (sample,), CLASSES)
    options = {"dataset": made, "protocol": PROTOCOL, "out": tmp_path / "out"}
    wsol.score(maps={"a.png": (OTHER[None], [4])}, **options)
    stats = read_run(tmp_path / "out").results.stats
    assert not stats.curves.any()
    assert not stats.contours.any()
    assert stats.peaks is None


def test_the_order_is_no_ranking_if_there_are_predictions(tmp_path: Path) -> None:
    folder = write(tmp_path / "maps", SEVERAL)
    ranked = {"a.png": [3, 0], "b.png": [1, 3], "c.png": [2, 0]}
    rows = [(name, rank, label) for name, labels in ranked.items() for rank, label in enumerate(labels, 1)]
    predictions = pd.DataFrame(rows, columns=["image_id", "rank", "class"])
    result = wsol.score(maps=folder, predictions=predictions, **OPTIONS)
    assert values(result)["top1_cls_err"] == pytest.approx(100 / 3)
    assert values(result)["top1_loc_err"] == pytest.approx(200 / 3)
    table = result.predictions
    assert table.class_id.tolist() == [0, 3, 0, 1, 1, 3, 2, 2, 0]
    assert table.x0.isna().tolist() == [False, True, False, False, False, True, False, False, False]
    assert table.error.tolist()[1::3] == ["class", "correct", table.error[7]]
    write(tmp_path / "less", {**SEVERAL, "b.png": (OTHER[None], np.array([4]))})
    with pytest.raises(InputError, match=r"1 unusable: b\.png \(the ground-truth class is predicted at rank 1, but it"):
        wsol.score(maps=tmp_path / "less", predictions=predictions, **OPTIONS)
    mixed = wsol.score(maps={**SEVERAL, "b.png": HIT}, predictions=predictions, **OPTIONS)
    assert values(mixed) == values(result)


def test_a_threshold_that_is_chosen_afterwards(tmp_path: Path) -> None:
    folder = write(tmp_path / "maps", SEVERAL)
    chosen = wsol.score(maps=folder, tau="oracle", **OPTIONS)
    fixed = wsol.score(maps=folder, tau=chosen.metadata.tau.value, **OPTIONS)
    pd.testing.assert_frame_equal(chosen.predictions, fixed.predictions)
    assert chosen.predictions.x0.notna().all()


def test_a_note_where_the_ground_truth_comes_first() -> None:
    maps = {name: (np.stack([HIT, OTHER]), [i, 5]) for i, name in enumerate(IDS)}
    result = wsol.score(maps=maps, **OPTIONS)
    assert values(result)["top1_cls_err"] == 0
    assert any("the first class of every image's maps is its ground-truth class" in n for n in result.metadata.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("maps", "classes", "sentence"),
    [
        (np.stack([HIT, HIT]), [0], r"has maps \(2, 32, 32\) and classes \(1,\), not \(k, h, w\) and \(k,\)"),
        (HIT, [0], r"has maps \(32, 32\) and classes \(1,\)"),
        (np.zeros((0, SIDE, SIDE)), np.zeros(0, int), r"has maps \(0, 32, 32\)"),
        (np.stack([HIT, HIT]), [0, 0], "it has two maps of one class"),
        (HIT[None], [6], "6 is no class of made, which has 6"),
        (HIT[None], [-1], "-1 is no class of made"),
        (HIT[None], [0.0], "its classes are float64, not integers"),
        (HIT[None] * np.nan, [0], "1024 values that are not finite"),
        (np.stack([HIT, 2 * HIT]), [0, 1], r"outside \[0, 1\].*--raw for a network's own maps"),
        (HIT[None, :5], [0], r"has the shape \(5, 32\), not \(32, 32\)"),
    ],
)
def test_unusable_maps_of_classes(tmp_path: Path, maps: np.ndarray, classes: Any, sentence: str) -> None:
    several = {**SEVERAL, "a.png": (maps, np.array(classes))}
    for source in (write(tmp_path / "maps", several), several):
        with pytest.raises(InputError, match=rf"1 unusable: a\.png \(.*{sentence}"):
            wsol.score(maps=source, **OPTIONS)
        result = wsol.score(maps=source, skip_bad=True, **OPTIONS)
        assert [*result.metadata.skipped] == ["a.png"]
        assert values(result)["top1_cls_err"] == 100


def test_unusable_files_of_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "maps", SEVERAL)
    np.savez(folder / "a.npz", maps=HIT[None], classes=np.array(["ant"]))
    with pytest.raises(
        InputError, match=r"1 unusable: a\.png \(cannot be read: its header is not that of an array of p"
    ):
        wsol.score(maps=folder, **OPTIONS)
    np.savez(folder / "a.npz", maps=HIT[None], labels=np.array([0]))
    with pytest.raises(InputError, match=r"it has 2 arrays, not one, or maps and classes"):
        wsol.score(maps=folder, **OPTIONS)
    np.savez(folder / "a.npz", HIT)
    with pytest.raises(InputError, match=r"b\.png has maps with classes, but a\.png has a map without one"):
        wsol.score(maps=folder, **OPTIONS)


GROUND_TRUTH = {"a.png": HIT, "b.png": OTHER, "c.png": HIT + OTHER * np.float32(0.2)}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name, score_map in GROUND_TRUTH.items():
        np.save(folder / f"{Path(name).stem}.npy", score_map)
    return folder


def in_order() -> Iterator[np.ndarray]:
    yield from GROUND_TRUTH.values()


class Lazy(Mapping[str, np.ndarray]):
    """Maps that are made when they are needed."""

    def __getitem__(self, name: str) -> np.ndarray:
        return GROUND_TRUTH[name]

    def __iter__(self) -> Iterator[str]:
        return iter(GROUND_TRUTH)

    def __len__(self) -> int:
        return len(GROUND_TRUTH)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: GROUND_TRUTH,
        lambda: {name.removesuffix(".png"): each for name, each in GROUND_TRUTH.items()},
        lambda: {name: torch.tensor(each, requires_grad=True) for name, each in GROUND_TRUTH.items()},
        Lazy,
        lambda: np.stack([*GROUND_TRUTH.values()]),
        lambda: torch.tensor(np.stack([*GROUND_TRUTH.values()])),
        in_order,
        lambda: np.fromiter(GROUND_TRUTH.values(), object),
        lambda: [torch.tensor(each) for each in GROUND_TRUTH.values()],
        lambda: [each.tolist() for each in GROUND_TRUTH.values()],
        lambda: ((name, each) for name, each in reversed(GROUND_TRUTH.items())),
        GROUND_TRUTH.items,
    ],
    ids=[
        "dict",
        "stems",
        "tensors",
        "lazy",
        "array",
        "tensor",
        "generator",
        "objects",
        "list",
        "lists",
        "pairs",
        "items",
    ],
)
def test_python_objects_are_scored_like_files(files: Path, make: Callable[[], Any], request) -> None:
    expected = wsol.score(maps=files, **OPTIONS)
    result = wsol.score(maps=make(), **OPTIONS)
    if request.node.callspec.id == "lists":  # Python's numbers are float64
        assert result.signature != expected.signature
        pd.testing.assert_frame_equal(result.metrics, expected.metrics)
    else:
        assert_same(result, expected)
    assert result.metadata.provenance.external.path == "maps"


def test_several_classes_as_python_objects(tmp_path: Path) -> None:
    expected = wsol.score(maps=write(tmp_path / "maps", SEVERAL), **OPTIONS)
    tensors = {name: (torch.tensor(maps), torch.tensor(classes)) for name, (maps, classes) in SEVERAL.items()}
    lists = [(maps, classes.tolist()) for maps, classes in SEVERAL.values()]
    for source in (SEVERAL, tensors, lists, (pair for pair in SEVERAL.items())):
        assert_same(wsol.score(maps=source, **OPTIONS), expected)
    swapped = {**SEVERAL, "a.png": (SEVERAL["a.png"][0], np.array([0, 4]))}
    assert wsol.score(maps=swapped, **OPTIONS).signature != expected.signature


def test_half_precision(files: Path) -> None:
    halves = {name: torch.tensor(each).bfloat16() for name, each in GROUND_TRUTH.items()}
    singles = {name: each.float() for name, each in halves.items()}
    assert_same(wsol.score(maps=halves, **OPTIONS), wsol.score(maps=singles, **OPTIONS))


def test_the_order_is_that_of_the_images_that_are_scored() -> None:
    maps = [*GROUND_TRUTH.values()]
    limited = wsol.score(maps=[maps[0], maps[1]], limit=2, **OPTIONS)
    assert limited.predictions.image_id.tolist() == ["a.png", "b.png"]
    assert limited.predictions.iou.tolist()[0] == 1
    samples = images().samples
    only = replace(samples[1], boxes=as_boxes([]), class_only=True)
    made = replace(images(), samples=(samples[0], only, samples[2]))
    result = wsol.score(maps=maps, dataset=made, protocol=PROTOCOL)  # an image without boxes has its place in the order
    by_id = wsol.score(maps={name: GROUND_TRUTH[name] for name in ("a.png", "c.png")}, dataset=made, protocol=PROTOCOL)
    assert_same(result, by_id)


def test_val_maps_as_python_objects() -> None:
    val = replace(images(), split="val", samples=images().samples[:2])
    options = {"dataset": val, "protocol": PROTOCOL}
    assert_same(wsol.score(maps=[HIT, MISS], **options), wsol.score(maps={"a": HIT, "b": MISS}, **options))
    with pytest.raises(InputError, match="give val_maps"):
        wsol.score(maps=[HIT] * 3, tau="val", **OPTIONS)
    with pytest.raises(InputError, match="val_maps with tau val"):
        wsol.score(maps=[HIT] * 3, val_maps=np.stack([HIT] * 2), **OPTIONS)


@pytest.mark.parametrize(
    ("maps", "sentence"),
    [
        ({"a.png": HIT, "b.png": HIT}, r"^maps does not fit the images: 1 missing: c\.png"),
        ({**GROUND_TRUTH, "z.png": HIT}, "1 extra: z.png"),
        ({**GROUND_TRUTH, "a": HIT}, r"1 duplicate: a\.png"),
        ([("a.png", HIT), *GROUND_TRUTH.items()], r"1 duplicate: a\.png"),
        ({1: HIT}, "maps has the key 1; give image ids, which are strings"),
        ([HIT, HIT], "maps has 2 maps, but made has 3 images to score; give one map per image in this order"),
        (np.stack([HIT] * 4), "maps has 4 maps, but made has 3 images"),
        (HIT, r"maps has the shape \(32, 32\), not \(n, h, w\)"),
        (np.zeros((3, 2, SIDE, SIDE)), r"maps has the shape \(3, 2, 32, 32\), not \(n, h, w\); give \(maps, classes\)"),
        ([("a.png", HIT), HIT, HIT], "maps has an image id in item 0 but none in item 1"),
        (7, "maps is int; give a folder, a dictionary"),
        ({**GROUND_TRUTH, "a.png": HIT[None]}, r"1 unusable: a\.png \(has the shape \(1, 32, 32\)"),
        ({**GROUND_TRUTH, "a.png": HIT * np.nan}, "1024 values that are not finite"),
        (
            {**GROUND_TRUTH, "a.png": np.array([[{}]])},
            r"1 unusable: a\.png \(cannot be read: holds object, not numbers",
        ),
        ({**GROUND_TRUTH, "a.png": "a.npy"}, r"1 unusable: a\.png \(cannot be read: holds <U5, not numbers"),
        ({**GROUND_TRUTH, "a.png": None}, "holds object, not numbers"),
        (np.array([{}] * 3), "3 unusable: a.png .*holds object, not numbers"),
        ({}, "3 missing"),
        ([], "maps has 0 maps"),
    ],
)
def test_unusable_python_objects(maps: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        wsol.score(maps=maps, **OPTIONS)
