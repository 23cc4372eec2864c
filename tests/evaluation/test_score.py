"""Scoring without a network: stored runs, maps and boxes from elsewhere, baselines."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import wsol
from wsol.datasets import Dataset, Sample, load_dataset
from wsol.errors import InputError
from wsol.evaluation.sources._scoring import by_image, score_all
from wsol.metrics.image_stats import ImageStats
from wsol.models import Model
from wsol.protocols import find_protocol
from wsol.runs.read import Evaluation
from wsol.runtime.cost import Clock
from wsol.runtime.threads import map_ordered
from wsol.score import main

SIZES = {"a.jpg": (100, 50), "b/c.png": (60, 80), "d.jpg": (50, 50)}
BOXES = {"a.jpg": [10, 5, 59, 44], "b/c.png": [0, 20, 59, 79], "d.jpg": [20, 20, 29, 29]}
LABELS = {"a.jpg": 1, "b/c.png": 0, "d.jpg": 1}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Three images in the lists of Choe et al., without the images."""
    folder = tmp_path / "lists" / "val"
    folder.mkdir(parents=True)
    rows = {
        "image_ids": [*SIZES],
        "class_labels": [f"{i},{label}" for i, label in LABELS.items()],
        "image_sizes": [f"{i},{w},{h}" for i, (w, h) in SIZES.items()],
        "localization": [",".join(map(str, (i, *box))) for i, box in BOXES.items()],
    }
    for name, lines in rows.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def scaled(image_id: str) -> tuple[int, ...]:
    """The box at 224, inclusive, by hand."""
    (w, h), (x0, y0, x1, y1) = SIZES[image_id], BOXES[image_id]
    return int(x0 * 224 / w), int(y0 * 224 / h), int(x1 * 224 / w), int(y1 * 224 / h)


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Maps that light up the true boxes, less the pixel that the protocol's boxes are too large by."""
    folder = tmp_path / "maps"
    for name, image_id in zip(("a.npy", "b/c.npy", "d.jpg.npy"), SIZES, strict=True):
        x0, y0, x1, y1 = scaled(image_id)
        score_map = np.zeros((224, 224))
        score_map[y0:y1, x0:x1] = 0.8
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, score_map)
    return folder


def value(result: Evaluation, metric: str, rule: str = "") -> float:
    rows = result.metrics.fillna({"tau_rule": ""})
    return float(rows[(rows.metric == metric) & (rows.tau_rule == rule)].value.item())


def test_maps_from_elsewhere(lists: Path, maps: Path, tmp_path: Path) -> None:
    result = wsol.score(maps=maps, metadata=lists, out=tmp_path / "out")
    assert value(result, "mean_iou", "fixed") == 100
    assert value(result, "gt_known_loc_acc", "oracle") == 100
    assert value(result, "pointing_game") == 100
    assert "top1_loc_err" not in set(result.metrics.metric)  # nobody said what the classes are
    assert result.signature.startswith("metadata-val#3:")
    assert result.signature.split("|")[2:4] == ["maps", "wsolevaluation:step=0.001,norm=minmax"]
    own = result.predictions
    assert own.image_id.tolist() == [*SIZES]
    assert own.class_id.tolist() == own.label.tolist() == [*LABELS.values()]
    assert [tuple(box) for box in (own[["x0", "y0", "x1", "y1"]] - [0, 0, 1, 1]).to_numpy()] == [*map(scaled, SIZES)]
    assert own.score.isna().all()
    curves = np.load(tmp_path / "out" / "curves.npy")
    assert (curves[:, :999] == 1).all()


def test_external_maps_are_taken_as_they_are(lists: Path, maps: Path) -> None:
    """No second min-max: 0.8 of 255 is 204, and a floor of 0.2 below it is above tau = 0.2 of the peak."""
    for path in maps.rglob("*.npy"):
        np.save(path, np.maximum(np.load(path), 0.2))
    boxes = wsol.score(maps=maps, metadata=lists).predictions[["x0", "y0", "x1", "y1"]].to_numpy()
    assert boxes.tolist() == [[0, 0, 224, 224]] * 3  # 0.2 * 255 = 51 is above trunc(0.2 * 204) = 40
    raw = wsol.score(maps=maps, metadata=lists, raw=True)
    assert raw.signature.split("|")[2] == "raw-maps"
    assert value(raw, "mean_iou", "fixed") == 100  # after min-max the floor is 0


@pytest.mark.parametrize("protocol", ["exact", "zhou2016", "zhou2016:box=script", "wsolevaluation:step=0.01"])
def test_other_protocols(lists: Path, maps: Path, protocol: str) -> None:
    result = wsol.score(maps=maps, metadata=lists, protocol=protocol)
    assert result.signature.split("|")[3] == find_protocol(protocol).signature
    assert len(result.predictions) == 3
    if protocol == "exact":
        assert value(result, "gt_known_loc_acc", "fixed") == 100
        assert set(result.metrics.metric).isdisjoint({"max_box_acc_v2"})
    if "script" in protocol:
        assert result.signature.split("|")[4] == "tau:none"
        assert result.metrics.tau.isna().all()


@pytest.mark.parametrize("change", [lambda a: a[:14, :14], lambda a: a * 9, lambda a: a - 0.5])
def test_a_networks_own_maps_are_told_about_raw(lists: Path, maps: Path, change: Callable[[Any], Any]) -> None:
    for path in maps.rglob("*.npy"):
        np.save(path, change(np.load(path)))
    with pytest.raises(InputError, match=r"3 unusable: .*; give --raw for a network's own maps, .* or give --skip-bad"):
        wsol.score(maps=maps, metadata=lists)
    assert len(wsol.score(maps=maps, metadata=lists, raw=True).predictions) == 3
    np.save(maps / "a.npy", np.full((224, 224), np.nan))  # which is no map in any case
    with pytest.raises(InputError, match=r"1 unusable: a.jpg [^;]*; fix it, or give --skip-bad"):
        wsol.score(maps=maps, metadata=lists, raw=True)


def break_map(kind: str, maps: Path) -> None:
    good = np.load(maps / "a.npy")
    if kind == "missing":
        (maps / "a.npy").unlink()
    elif kind == "extra":
        np.save(maps / "z.npy", good)
    elif kind == "duplicate":
        np.savez(maps / "a.npz", good)
    elif kind == "unreadable":
        (maps / "a.npy").write_bytes(b"no array")
    elif kind == "pickle":
        np.save(maps / "a.npy", np.array([{}], object), allow_pickle=True)
    else:
        bad = {"nan": np.where(good > 0, np.nan, 0), "range": good * 2, "shape": good[:14, :14], "3d": good[None]}
        np.save(maps / "a.npy", bad[kind])


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", r"1 missing: a\.jpg"),
        ("extra", "1 extra: z"),
        ("duplicate", r"1 duplicate: a\.jpg"),
        ("unreadable", r"1 unusable: a\.jpg"),
        ("pickle", r"1 unusable: a\.jpg"),
        ("nan", r"1 unusable: a\.jpg \(has \d+ values that are not finite\)"),
        ("range", r"ranges from 0 to 1\.6, outside \[0, 1\]"),
        ("shape", r"has the shape \(14, 14\), not \(224, 224\)"),
        ("3d", r"has the shape \(1, 224, 224\)"),
    ],
)
def test_bad_maps_are_counted_and_named_and_never_zero(lists: Path, maps: Path, kind: str, sentence: str) -> None:
    break_map(kind, maps)
    with pytest.raises(InputError, match=sentence):
        wsol.score(maps=maps, metadata=lists)
    result = wsol.score(maps=maps, metadata=lists, skip_bad=True)
    assert result.metadata.dataset.n == (3 if kind == "extra" else 2)
    assert list(result.metadata.skipped) == ([] if kind == "extra" else ["a.jpg"])
    assert result.metadata.notes[0].startswith("1 ")
    assert (result.predictions.iou == 1).all()
    assert value(result, "mean_iou", "fixed") == 100


def test_an_npz_archive_and_two_images_with_one_name(lists: Path, maps: Path, tmp_path: Path) -> None:
    names = {"a": "a.npy", "b/c": "b/c.npy", "d.jpg": "d.jpg.npy"}
    np.savez(tmp_path / "all.npz", **{name: np.load(maps / file) for name, file in names.items()})
    assert value(wsol.score(maps=tmp_path / "all.npz", metadata=lists), "mean_iou", "fixed") == 100
    for name in ("image_ids", "class_labels", "image_sizes", "localization"):
        path = lists / f"{name}.txt"
        path.write_text(path.read_text().replace("d.jpg", "a.png"))
    with pytest.raises(InputError, match=r"2 ambiguous: a\.jpg \(2 images share the map a\)"):
        wsol.score(maps=maps, metadata=lists)


def test_baseline_and_its_reference(lists: Path) -> None:
    result = wsol.score(baseline="full-image", metadata=lists)
    shares = [(x1 - x0 + 1) * (y1 - y0 + 1) / 224**2 for x0, y0, x1, y1 in map(scaled, SIZES)]
    assert value(result, "mean_iou", "fixed") == pytest.approx(100 * np.mean(shares), rel=1e-6)
    assert value(result, "max_box_acc_v2_30", "oracle") == pytest.approx(100 * np.mean(np.array(shares) >= 0.3))
    assert result.signature.split("|")[1:3] == ["full-image", "baseline"]


@pytest.mark.parametrize(
    ("folder", "v2", "deltas"),
    [("ILSVRC", 50.320, (74.940, 50.360, 25.660)), ("CUB", 47.433, (87.700, 45.200, 9.400))],
)
@pytest.mark.slow
def test_centre_gaussian_reference(real_data: Path, folder: str, v2: float, deltas: tuple[float, ...]) -> None:
    result = wsol.score(baseline="center-gaussian", metadata=real_data / "metadata" / folder / "val")
    found = [value(result, f"max_box_acc_v2_{delta}", "oracle") for delta in (30, 50, 70)]
    assert found == pytest.approx(list(deltas), abs=5e-4)
    assert value(result, "max_box_acc", "oracle") == pytest.approx(deltas[1], abs=5e-4)
    assert value(result, "max_box_acc_v2", "oracle") == pytest.approx(v2, abs=5e-4)


def write_boxes(path: Path, rows: list[str], header: str = "image_id,x0,y0,x1,y1") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


TRUE_ROWS = [",".join(map(str, (i, *box))) for i, box in BOXES.items()]


def test_boxes_in_the_data_sets_own_convention(lists: Path, tmp_path: Path) -> None:
    path = write_boxes(tmp_path / "boxes.csv", TRUE_ROWS)
    result = wsol.score(boxes=path, metadata=lists, out=tmp_path / "out")
    assert value(result, "mean_iou") == 100
    assert value(result, "gt_known_loc_acc") == 100
    assert result.metrics.tau.isna().all()
    assert set(result.metrics.metric) == {"gt_known_loc_acc", "mean_iou", "corloc"}
    assert result.signature.split("|")[4] == "tau:none"
    assert result.signature.split("|")[2] == "boxes(inclusive)"
    edges = [",".join(map(str, (i, *np.add(box, [0, 0, 1, 1])))) for i, box in BOXES.items()]
    same = wsol.score(boxes=write_boxes(path, edges), metadata=lists, corners="edges", protocol="exact")
    assert value(same, "mean_iou") == 100
    assert value(wsol.score(boxes=path, metadata=lists, protocol="exact"), "mean_iou") < 100


def test_guessed_classes_and_their_boxes(lists: Path, tmp_path: Path) -> None:
    a, c, d = (",".join(map(str, box)) for box in BOXES.values())
    rows = [f"a.jpg,0,0.9,{a}", f"a.jpg,1,0.1,{a}", f"b/c.png,0,0.7,{c}", f"d.jpg,1,0.8,{a.replace('59', '49')}"]
    header = "image_id,class_id,score,x0,y0,x1,y1"
    path = write_boxes(tmp_path / "boxes.csv", rows, header)
    result = wsol.score(boxes=path, metadata=lists)
    # a: second guess right. c: first guess right. d: right class, wrong box.
    found = {m: value(result, m) for m in ("top1_cls_err", "top5_cls_err", "top1_loc_err", "top5_loc_err")}
    expected = {"top1_cls_err": 100 / 3, "top5_cls_err": 0, "top1_loc_err": 200 / 3, "top5_loc_err": 100 / 3}
    assert found == pytest.approx(expected)
    assert value(result, "gt_known_loc_acc") == pytest.approx(200 / 3)
    errors = result.tables.errors.set_index("error")
    assert errors.n.to_dict()["class"] == errors.n.to_dict()["correct"] == 1
    assert errors.gain["class"] == pytest.approx(100 / 3)  # the box would have been right
    worse = write_boxes(path, [rows[0], *rows[2:]], header)
    lacking = wsol.score(boxes=worse, metadata=lists)
    assert "gt_known_loc_acc" not in set(lacking.metrics.metric)  # a has no box of its own class: no number, no zero
    assert value(lacking, "top5_loc_err") == pytest.approx(200 / 3)
    assert "GT-known accuracy and related metrics are left out" in lacking.metadata.notes[-1]
    assert d


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (TRUE_ROWS[1:], r"1 missing: a\.jpg"),
        ([*TRUE_ROWS, "z.jpg,0,0,1,1"], r"1 extra: z\.jpg \(line 5\)"),
        ([*TRUE_ROWS, TRUE_ROWS[0]], r"1 duplicate: a\.jpg \(two boxes, and no score"),
        (["a.jpg,nan,0,1,1", *TRUE_ROWS[1:]], r"1 unusable: a\.jpg \(line 2: not four finite numbers\)"),
        (["a.jpg,9,9,3,3", *TRUE_ROWS[1:]], "line 2: an empty or inverted box"),
        (["a.jpg,9,9,300,30", *TRUE_ROWS[1:]], "line 2: a box outside the 100 x 50 image"),
    ],
)
def test_bad_boxes_are_counted_and_named(lists: Path, tmp_path: Path, rows: list[str], sentence: str) -> None:
    path = write_boxes(tmp_path / "boxes.csv", rows)
    with pytest.raises(InputError, match=sentence):
        wsol.score(boxes=path, metadata=lists)
    result = wsol.score(boxes=path, metadata=lists, skip_bad=True)
    assert result.metadata.dataset.n == (3 if "extra" in sentence else 2)
    assert value(result, "mean_iou") == 100


SCORED = "image_id,class_id,score,x0,y0,x1,y1"


def test_of_several_boxes_of_a_class_the_best_scored_is_used(lists: Path, tmp_path: Path) -> None:
    a, c, d = (",".join(map(str, box)) for box in BOXES.values())
    wrong = "0,0,3,3"
    rows = [
        *(f"a.jpg,0,0.{n},{a}" for n in (5, 9, 7, 6, 8, 4)),  # six boxes of one class are one guess
        f"a.jpg,1,0.1,{wrong}",
        f"a.jpg,1,0.3,{a}",
        f"b/c.png,0,0.2,{wrong}",
        f"b/c.png,0,0.7,{c}",
        f"b/c.png,1,0.5,{c}",
        f"d.jpg,1,0.6,{wrong}",
        f"d.jpg,1,0.6,{d}",  # of equal scores the first
    ]
    result = wsol.score(boxes=write_boxes(tmp_path / "boxes.csv", rows, SCORED), metadata=lists)
    found = {m: value(result, m) for m in ("top1_cls_err", "top5_cls_err", "top1_loc_err", "top5_loc_err")}
    expected = {"top1_cls_err": 100 / 3, "top5_cls_err": 0, "top1_loc_err": 200 / 3, "top5_loc_err": 100 / 3}
    assert found == pytest.approx(expected)
    assert value(result, "gt_known_loc_acc") == pytest.approx(200 / 3)
    (note,) = result.metadata.notes
    assert note == "boxes.csv: boxes that score lower than another of their image and class are unused (8)"
    order = np.random.default_rng(0).permutation(11)  # without the tie, the order of the rows means nothing
    mixed = write_boxes(tmp_path / "boxes.csv", [*(rows[i] for i in order), *rows[11:]], SCORED)
    pd.testing.assert_frame_equal(wsol.score(boxes=mixed, metadata=lists).predictions, result.predictions)


def test_of_several_boxes_without_classes_the_best_scored_is_used(lists: Path, tmp_path: Path) -> None:
    rows = [f"{row},0.6" for row in TRUE_ROWS] + ["a.jpg,0,0,3,3,0.5", "d.jpg,0,0,3,3,0.7"]
    path = write_boxes(tmp_path / "boxes.csv", rows, "image_id,x0,y0,x1,y1,score")
    result = wsol.score(boxes=path, metadata=lists)
    assert value(result, "gt_known_loc_acc") == pytest.approx(200 / 3)


def test_numbers_of_cocos_results_may_be_floats(tmp_path: Path) -> None:
    box = [10, 10, 40, 40]
    results = [
        {"image_id": name, "category_id": float(i), "bbox": box, "score": 0.5 - n / 10}
        for i, name in enumerate(SIZES)
        for n in range(2)
    ]
    (tmp_path / "r.json").write_text(json.dumps(results))
    samples = (
        Sample(name, label, np.array([[10, 10, 50, 50.0]]), "edges", size=(100, 100))
        for label, name in enumerate(SIZES)
    )
    made = Dataset("made", "test", tuple(samples), ("1", "2", "0"))  # never ambiguous here: ids are indices
    result = wsol.score(boxes=tmp_path / "r.json", dataset=made)
    assert value(result, "top1_loc_err") == 0
    assert "are unused (3)" in result.metadata.notes[0]


def test_cocos_results(tmp_path: Path) -> None:
    boxes = {7: [10, 5, 50, 40], 9: [0, 20, 60, 60]}
    instances = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 90} for i in boxes],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": boxes[7], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 5, "bbox": boxes[9], "iscrowd": 0},
            {"id": 3, "image_id": 9, "category_id": 5, "bbox": boxes[9], "iscrowd": 0},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    results = [
        {"image_id": 7, "category_id": 3, "bbox": boxes[7], "score": 0.4},
        {"image_id": 7, "category_id": 5, "bbox": boxes[9], "score": 0.6},
        {"image_id": 9, "category_id": 5, "bbox": [0, 20, 20, 20], "score": 0.9},
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    options = {
        "boxes": tmp_path / "results.json",
        "dataset": "coco",
        "data_root": tmp_path,
        "dataset_args": {"annotations": "instances.json"},
    }
    result = wsol.score(**options)
    entries = [
        {**entry, "category_id": float(entry["category_id"]), "image_id": 1.0 * entry["image_id"]} for entry in results
    ]
    (tmp_path / "results.json").write_text(json.dumps(entries))
    pd.testing.assert_frame_equal(wsol.score(**options).predictions, result.predictions)
    (tmp_path / "results.json").write_text(json.dumps([*results, {**results[0], "category_id": 0}]))
    with pytest.raises(InputError, match="entry 3: the category_id 0 is no class of coco, which has 2"):
        wsol.score(**options)  # ids that were counted from 0
    assert result.predictions[result.predictions["rank"] == 0].image_id.tolist() == ["7.jpg#cat", "7.jpg#dog", "9.jpg"]
    assert value(result, "gt_known_loc_acc") == pytest.approx(200 / 3)
    assert value(result, "top1_cls_err") == pytest.approx(100 / 3)  # of 7's two classes one is guessed first
    assert value(result, "top1_loc_err") == pytest.approx(200 / 3)
    assert value(result, "top5_loc_err") == pytest.approx(100 / 3)
    for broken in ("{", "[1]", '[{"image_id": 7}]'):
        (tmp_path / "results.json").write_text(broken)
        with pytest.raises(InputError, match="is not COCO's results"):
            wsol.score(**options)


@pytest.fixture
def run(tmp_path: Path, tiny_model: Model, csv_data: Path) -> Path:
    wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", tau="val", out=tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.slow
def test_a_run_scored_again_is_the_same_run(run: Path, tmp_path: Path, csv_data: Path) -> None:
    csv_data.rename(tmp_path / "gone")  # without model or images
    again = wsol.score(run=run, tau="val", out=tmp_path / "again")
    assert again.signature == json.loads((run / "run.json").read_text())["signature"]
    tables = [f"{name}.csv" for name in ("metrics", "classes", "groups", "errors", "baselines")]
    for name in (*tables, "curves.npy", "curves_v2.npy", "peaks.npy"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes(), name
    pd.testing.assert_frame_equal(pd.read_parquet(run / "predictions.parquet"), again.predictions)


@pytest.mark.slow
def test_a_run_under_another_protocol_is_what_that_protocol_would_have_given(
    run: Path, tiny_model: Model, csv_data: Path
) -> None:
    again = wsol.score(run=run, protocol="exact")
    direct = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", protocol="exact")
    assert again.signature == direct.signature
    pd.testing.assert_frame_equal(again.metrics, direct.metrics)
    pd.testing.assert_frame_equal(again.predictions, direct.predictions)
    script = wsol.score(run=run, protocol="zhou2016:box=script")
    assert "top5_loc_err_pairs" in set(script.metrics.metric)


@pytest.mark.slow
def test_ten_crops_are_kept_and_scored_again(tiny_model: Model, csv_data: Path, tmp_path: Path) -> None:
    first = wsol.evaluate(
        tiny_model, dataset="csv", data_root=csv_data, device="cpu", protocol="zhou2016", out=tmp_path / "ten"
    )
    assert np.load(tmp_path / "ten" / "maps.npy").shape == (8, 6, 10, 14, 14)
    assert first.signature.split("|")[2:4] == ["cam@256/10x224", "zhou2016:box=paper,crops=10,step=0.01,norm=max"]
    again = wsol.score(run=tmp_path / "ten", protocol="zhou2016")
    pd.testing.assert_frame_equal(again.metrics, first.metrics)
    other = wsol.score(run=tmp_path / "ten", protocol="wsolevaluation")
    assert other.signature.split("|")[2] == "cam@256/10x224"  # the maps stay what they were made of


@pytest.mark.slow
def test_ten_crops_average_probabilities_and_add_maps(tiny_model: Model, csv_data: Path, tmp_path: Path) -> None:
    result = wsol.evaluate(
        tiny_model, dataset="csv", data_root=csv_data, device="cpu", protocol="zhou2016", limit=1, out=tmp_path / "ten"
    )
    (sample,) = load_dataset("csv", csv_data).limit(1)
    squashed = Image.open(sample.path).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
    total, whole = 0, torch.zeros(256, 256)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for mirrored in (False, True):
        for top, left in ((0, 0), (0, 32), (32, 0), (32, 32), (16, 16)):
            crop = squashed.crop((left, top, left + 224, top + 224))
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop
            pixels = (torch.tensor(np.asarray(crop)) / 255 - mean) / std
            with torch.no_grad():
                features = tiny_model.network.features(pixels.permute(2, 0, 1)[None])
                total = total + tiny_model.network.forward_head(features)[0].softmax(0) / 10
                cam = (tiny_model.network.linear.weight[sample.label][:, None, None] * features[0]).sum(0)
            large = torch.nn.functional.interpolate(cam[None, None], (224, 224), mode="bilinear")[0, 0]
            whole[top : top + 224, left : left + 224] += large.flip(1) if mirrored else large
    guesses = result.predictions
    assert guesses[guesses["rank"] == 0].score.item() == pytest.approx(float(total[sample.label]), rel=1e-4)
    assert guesses[guesses["rank"] > 0].class_id.tolist() == total.argsort(descending=True)[:5].tolist()
    protocol = find_protocol("zhou2016")
    ours = protocol.view.assemble(np.load(tmp_path / "ten" / "maps.npy")[0, :1])[0]
    np.testing.assert_allclose(ours, whole.numpy(), atol=1e-4)


@pytest.mark.slow
def test_masks_need_the_data_set_again(tmp_path: Path) -> None:
    options = {"limit": 4, "device": "cpu", "dataset_args": {"size": "64"}}
    first = wsol.evaluate("vgg16-gap", out=tmp_path / "run", **options)
    assert "pxap" in set(first.metrics.metric)
    alone = wsol.score(run=tmp_path / "run")
    assert "pxap" not in set(alone.metrics.metric)
    both = wsol.score(run=tmp_path / "run", dataset="synthetic", dataset_args=options["dataset_args"])
    pd.testing.assert_frame_equal(both.metrics, first.metrics)
    with pytest.raises(InputError, match="other images or boxes"):
        wsol.score(run=tmp_path / "run", dataset="synthetic")


def test_a_folder_that_is_no_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"run\.json is missing: .* is no run with raw maps"):
        wsol.score(run=tmp_path / "empty")
    (run / "maps.npy").unlink()
    with pytest.raises(InputError, match=r"maps\.npy is missing"):
        wsol.score(run=run)
    np.save(run / "maps.npy", np.zeros((3, 6, 14, 14), np.float32))
    with pytest.raises(InputError, match="do not belong together"):
        wsol.score(run=run)
    (run / "run.json").write_text("{}")
    with pytest.raises(InputError, match="not a run of this version"):
        wsol.score(run=run)


def test_what_is_asked_for_has_to_make_sense(lists: Path, maps: Path, tmp_path: Path, run: Path) -> None:
    for options, sentence in (
        ({}, "exactly one of run, maps, boxes and baseline, not none"),
        ({"maps": maps, "baseline": "random"}, "not maps and baseline"),
        ({"maps": maps}, "give the images: either dataset or metadata"),
        ({"maps": maps, "metadata": lists, "dataset": "cub"}, "give the images: either dataset or metadata"),
        ({"maps": maps, "metadata": lists, "tau": "val"}, "give val_maps"),
        ({"baseline": "random", "metadata": lists, "tau": "val"}, "and metadata-val#3:.* is not one"),
        ({"maps": maps, "val_maps": maps, "metadata": lists, "split": "val", "tau": "val"}, "is not one"),
        ({"maps": maps, "metadata": lists, "val_maps": maps}, "leave out what has no effect"),
        ({"baseline": "random", "metadata": lists, "raw": True}, "leave out what has no effect"),
        ({"run": run, "out": run}, "is the run itself"),
        ({"baseline": "rondom", "metadata": lists}, "did you mean random"),
        ({"baseline": "random", "metadata": lists, "workers": 0}, "workers is 0"),
        ({"run": run, "limit": 3}, "a run is scored as a whole"),
        ({"maps": tmp_path / "none", "metadata": lists}, "neither a folder"),
        ({"maps": maps, "metadata": lists, "tau": 0.1234}, "not on the protocol's grid"),
    ):
        with pytest.raises(InputError, match=sentence):
            wsol.score(**options)


def test_val_maps_choose_tau(lists: Path, maps: Path, tmp_path: Path) -> None:
    test = lists.with_name("test")
    test.mkdir()
    for path in lists.iterdir():
        (test / path.name).write_text(path.read_text().replace("a.jpg", "e.jpg"))
    with pytest.raises(InputError, match=r"1 missing: e\.jpg; 1 extra: a"):
        wsol.score(maps=maps, val_maps=maps, metadata=lists.parent, tau="val")
    other = tmp_path / "other"
    (other / "b").mkdir(parents=True)
    for mine, theirs in (("a.npy", "e.npy"), ("b/c.npy", "b/c.npy"), ("d.jpg.npy", "d.jpg.npy")):
        np.save(other / theirs, np.load(maps / mine) / 2)
    result = wsol.score(maps=other, val_maps=maps, metadata=lists.parent, tau="val")
    assert "|tau:val(metadata-val#3:" in result.signature
    assert ",maps:" in result.signature  # and which maps
    assert value(result, "gt_known_loc_acc", "val") == 100
    gaussian = wsol.score(baseline="center-gaussian", metadata=lists.parent, tau="val")
    assert "val" in set(gaussian.metrics.tau_rule)


def test_the_command(lists: Path, maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--metadata", str(lists), "--protocol", "wsolevaluation", "--out", str(tmp_path / "out")]
    assert main(["--maps", str(maps), *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("metadata-val#3:")
    assert "GT-known accuracy" in printed
    assert main(["--baseline", "random", *arguments]) == 2
    said = capsys.readouterr().err
    assert "holds another run (model: maps:" in said
    assert "method: maps, not baseline" in said
    (maps / "a.npy").unlink()
    assert main(["--maps", str(maps), *arguments]) == 2
    assert capsys.readouterr().err.startswith("wsol: ")


def test_scoring_needs_no_torch() -> None:
    code = "import sys, wsol.score, wsol.evaluation.score, wsol.reports.terminal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_memory_is_bounded_by_what_waits() -> None:
    begun: list[int] = []

    def pulled(i: int) -> int:
        begun.append(i)
        return i

    with ThreadPoolExecutor(2) as pool:
        results = map_ordered(pool, pulled, range(1000), ahead=8)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert max(begun) < 3 + 8
        assert [*results] == [*range(3, 1000)]


def test_images_are_left_out_wherever_they_are() -> None:
    """Images are scored in chunks by threads: one chunk of only unusable images, and some in others."""
    dataset = Dataset("numbered", "test", (*(Sample(str(i), 0, np.ones((1, 4)), "edges") for i in range(100)),), ("a",))
    used = [i for i in range(100) if not 10 <= i < 55 and i % 7]

    def image_stats(i: int) -> ImageStats | None:
        return ImageStats(np.zeros((1, 4)), np.full(1, i, np.float32), i % 2 == 0) if i in used else None

    with ThreadPoolExecutor(3) as pool:
        protocol = find_protocol("zhou2016:box=script")
        accumulator, kept = score_all(protocol, dataset, by_image(image_stats), pool, Clock())
    assert kept == used
    assert accumulator.arrays["curves"][:, 0].tolist() == used
    assert accumulator.arrays["peaks"].tolist() == [i % 2 == 0 for i in used]


def test_a_limit_leaves_out_images_and_not_their_entries(lists: Path, maps: Path, tmp_path: Path) -> None:
    assert wsol.score(maps=maps, metadata=lists, limit=2).metadata.dataset.n == 2
    path = write_boxes(tmp_path / "boxes.csv", TRUE_ROWS)
    assert wsol.score(boxes=path, metadata=lists, limit=2).metadata.dataset.n == 2


def test_classes_that_no_image_has_are_wrong_and_gaps_in_the_scores_are_named(lists: Path, tmp_path: Path) -> None:
    header = "image_id,class_id,score,x0,y0,x1,y1"
    rows = [f"{i},{9 if i == 'a.jpg' else LABELS[i]},0.5,{','.join(map(str, box))}" for i, box in BOXES.items()]
    result = wsol.score(boxes=write_boxes(tmp_path / "b.csv", rows, header), metadata=lists)
    assert value(result, "top1_cls_err") == pytest.approx(100 / 3)
    gap = write_boxes(tmp_path / "b.csv", [*rows, "a.jpg,1,,1,1,9,9"], header)
    with pytest.raises(InputError, match=r"1 unusable: a\.jpg \(1 of 2 boxes have no score\)"):
        wsol.score(boxes=gap, metadata=lists)


def test_a_large_offset_does_not_swallow_the_map(lists: Path, maps: Path) -> None:
    for path in maps.rglob("*.npy"):
        np.save(path, (np.load(path) > 0) * 20 + 10**9)
    assert value(wsol.score(maps=maps, metadata=lists, protocol="exact"), "gt_known_loc_acc", "fixed") == 100
    assert value(wsol.score(maps=maps, metadata=lists, raw=True), "gt_known_loc_acc", "fixed") == 100


def test_the_digest_is_of_the_maps_that_count(lists: Path, maps: Path) -> None:
    names = set()
    for content in (np.full((224, 224), np.nan), np.zeros((3, 3, 3)), np.zeros((20, 20))):
        np.save(maps / "a.npy", content)
        names.add(wsol.score(maps=maps, metadata=lists, skip_bad=True).signature)
    assert len(names) == 1
    by_shape = set()
    for shape in ((10, 20), (20, 10)):
        np.save(maps / "a.npy", np.arange(200.0).reshape(shape))
        by_shape.add(wsol.score(maps=maps, metadata=lists, protocol="exact").signature)
    assert len(by_shape) == 2


def test_a_grid_without_the_usual_fixed_tau(lists: Path, maps: Path) -> None:
    result = wsol.score(maps=maps, metadata=lists, protocol="exact:levels=100", tau="oracle")
    assert set(result.metrics.tau_rule.dropna()) == {"oracle"}
