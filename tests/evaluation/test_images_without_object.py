"""Images that show no object, as normal patches of histology do: metrics of pixels and classes count them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.datasets import Dataset, Mask, Sample, check_dataset, load_dataset
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.leaderboards.verify import verify_tables
from wsol.metrics.base import METRICS
from wsol.models import Model
from wsol.runs.ground_truth import ground_truth_table, read_ground_truth
from wsol.runs.read import read_run

CLASSES = ("normal", "tumor")


def held(foreground: list[list[int]]) -> Callable[[], Mask]:
    array = np.array(foreground, bool)
    return lambda: Mask(array, np.zeros_like(array))


TUMOR = Sample("tumor", 1, as_boxes([[0, 0, 2, 1]]), "edges", size=(2, 2), mask=held([[1, 1], [0, 0]]))
NORMAL = Sample("normal", 0, as_boxes([]), "edges", size=(2, 2), mask=held([[0, 0], [0, 0]]), empty=True)
MAPS = {
    "tumor": np.array([[1, 0.5], [0, 0]], np.float32),
    "normal": np.array([[1, 0.5], [0.5, 0]], np.float32),
}
HALF = {"protocol": "exact:levels=3", "tau": 0.5}


def of(*samples: Sample) -> Dataset:
    return Dataset("patches", "test", samples, CLASSES)


def empty(images: Dataset, *places: int) -> Dataset:
    """Return the images with annotations that say that some show no object."""
    samples = list(images)
    for i in places:
        shape = samples[i].mask().foreground.shape  # type: ignore[misc]  # synthetic images have masks
        samples[i] = replace(samples[i], boxes=as_boxes([]), mask=held(np.zeros(shape).tolist()), empty=True)
    return replace(images, samples=tuple(samples), generated=False)


def without(images: Dataset) -> Dataset:
    return images.subset([i for i, sample in enumerate(images) if not sample.empty])


def rows_of(table: pd.DataFrame, counts_empty: bool) -> pd.DataFrame:
    keep = [METRICS.get(name).counts_empty is counts_empty for name in table["metric"]]
    return table[keep].reset_index(drop=True)


def test_pxap_by_hand() -> None:
    alone = wsol.score(maps={"tumor": MAPS["tumor"]}, dataset=of(TUMOR), **HALF).metrics.set_index("metric")
    assert alone.loc["pxap", ["value", "n"]].tolist() == [100, 1]  # both foreground pixels score above the others
    both = wsol.score(maps=MAPS, dataset=of(NORMAL, TUMOR), **HALF).metrics.set_index("metric")
    # From 1 up: 1 foreground and 1 background pixel; from 0.5 up: 2 and 3; so 1/2 * 1/2 + 2/5 * 1/2.
    assert both.loc["pxap", "value"] == pytest.approx(45)
    assert both.loc["pxap", "n"] == 2
    # Over tau 0, 0.5 and 1, the tumor has the IoUs 2/4, 2/2 and 1/2, the normal patch 0.
    assert both.loc["mean_pixel_iou", ["value", "n"]].tolist() == [pytest.approx(100 * 2 / 3 / 2), 2]
    for metric in ("gt_known_loc_acc", "mean_iou", "corloc", "pointing_game"):
        assert alone.loc[metric].equals(both.loc[metric]), metric
    assert set(both.loc["gt_known_loc_acc", "n"]) == {1}


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    images = empty(load_dataset("synthetic").limit(12), 0, 5, 6, 11)
    options = {"baseline": "center-gaussian", "tau": "oracle", "protocol": "wsolevaluation:step=0.05"}
    return wsol.score(dataset=images, **options), wsol.score(dataset=without(images), **options)


def test_metrics_of_boxes_are_those_without_the_empty_images(pair: tuple[Any, Any]) -> None:
    mixed, objects = pair
    for name in ("metrics", "baselines", "classes", "groups"):
        ours, theirs = (rows_of(getattr(each.tables, name), False) for each in pair)
        pd.testing.assert_frame_equal(ours, theirs)
    pd.testing.assert_frame_equal(mixed.tables.errors, objects.tables.errors)
    assert set(rows_of(mixed.metrics, False)["n"]) == {8}
    assert set(rows_of(mixed.metrics, True)["n"]) == {12}
    pxap = [each.metrics.set_index("metric").loc["pxap", "value"] for each in pair]
    assert pxap[0] < pxap[1]  # background alone was added
    note = "4 of 12 images show no object: classification and metrics of pixels count them, metrics of boxes do not"
    assert note in mixed.metadata.notes
    assert mixed.to_dict()["n"] == 12
    assert mixed.to_dict()["gt_known_loc_acc/oracle.n"] == 8


def test_predictions_of_empty_images(pair: tuple[Any, Any]) -> None:
    table = pair[0].predictions
    ids = [pair[0].predictions["image_id"].unique()[i] for i in (0, 5, 6, 11)]
    rows = table[table["image_id"].isin(ids)]
    assert rows["iou"].isna().all()
    assert set(rows["error"]) == {"empty"}
    assert rows["x0"].notna().all()  # the box is kept
    others = table[~table["image_id"].isin(ids)].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, pair[1].predictions)


def test_groups_without_foreground_have_no_pxap() -> None:
    table = wsol.score(maps=MAPS, dataset=of(NORMAL, TUMOR), **HALF).classes
    normal = set(table.loc[table["class"] == "normal", "metric"])
    assert normal == {"mean_pixel_iou", "peak_iou", "pixel_iou"}
    assert {"pxap", "gt_known_loc_acc"} <= set(table.loc[table["class"] == "tumor", "metric"])


def test_ground_truth_is_read_back(tmp_path: Path) -> None:
    box = Sample("box", 1, as_boxes([[0, 0, 1, 1], [1, 1, 2, 2]]), "edges", size=(2, 2))
    samples = (NORMAL, box, replace(NORMAL, image_id="other", size=None))
    ground_truth_table(samples, np.full((3, 2), 2)).to_parquet(tmp_path / "truth.parquet")
    found, sizes = read_ground_truth(tmp_path / "truth.parquet")
    assert [(s.image_id, s.label, len(s.boxes), s.size, s.empty) for s in found] == [
        ("normal", 0, 0, (2, 2), True),
        ("box", 1, 2, (2, 2), False),
        ("other", 0, 0, None, True),
    ]
    assert sizes == [(2, 2)] * 3


@pytest.mark.slow
def test_boxes_need_no_row_for_an_empty_image(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("image_id,x0,y0,x1,y1\ntumor,0,0,2,1\n")
    found = wsol.score(boxes=path, dataset=of(NORMAL, TUMOR)).metrics.set_index("metric")
    assert found.loc["gt_known_loc_acc", ["value", "n"]].tolist() == [100, 1]
    path.write_text("image_id,class_id,x0,y0,x1,y1\ntumor,1,0,0,2,1\n")
    with pytest.raises(InputError, match="1 missing: normal"):  # its predicted class is not known
        wsol.score(boxes=path, dataset=of(NORMAL, TUMOR))
    path.write_text("image_id,class_id,x0,y0,x1,y1\ntumor,1,0,0,2,1\nnormal,1,0,0,2,2\n")
    found = wsol.score(boxes=path, dataset=of(NORMAL, TUMOR)).metrics.set_index("metric")
    assert found.loc["top1_cls_err", ["value", "n"]].tolist() == [50, 2]
    assert found.loc["top1_loc_err", ["value", "n"]].tolist() == [0, 1]


def test_a_split_needs_an_object(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image of the split 'test' shows an object"):
        wsol.score(maps={"normal": MAPS["normal"]}, dataset=of(NORMAL))
    with pytest.raises(InputError, match="none of the 1 images shows an object"):
        wsol.score(maps={"normal": MAPS["normal"]}, dataset=of(NORMAL, TUMOR), skip_bad=True, **HALF)
    with pytest.raises(InputError, match="is said to show no object, but has a box"):
        check_dataset(of(TUMOR, replace(TUMOR, image_id="other", empty=True)))
    with pytest.raises(InputError, match="is said to show no object, but counts in classification only"):
        check_dataset(of(TUMOR, replace(NORMAL, class_only=True)))
    with pytest.raises(InputError, match="has no box"):
        check_dataset(of(TUMOR, replace(NORMAL, empty=False)))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["exact:levels=16", "wsolevaluation:step=0.1"])
def test_a_metric_in_a_loop_has_the_numbers_of_a_score(protocol: str) -> None:
    random = np.random.default_rng(0)
    maps = random.random((6, 7, 7)).astype(np.float32)
    images = load_dataset("synthetic").limit(6)
    images = empty(images, 1, 2)
    options = {"protocol": protocol, "tau": 0.2}
    expected = wsol.score(maps=maps, raw=True, dataset=images, **options).metrics
    metric = wsol.LocalizationMetric(frame="image", classes=len(images.classes), interval=True, **options)
    for part in (slice(0, 1), slice(1, 3), slice(3, 6)):
        samples = images.samples[part]
        boxes = [sample.edges for sample in samples]
        masks = [sample.mask() for sample in samples]  # type: ignore[misc]  # all have one
        sizes = [sample.size for sample in samples]
        labels = [sample.label for sample in samples]
        metric.update(maps[part], boxes, labels, masks=masks, sizes=sizes)
    found = metric.compute()
    assert (found["n"], found["n.objects"]) == (6, 4)
    for row in expected.to_dict("records"):
        also_fixed = row["tau_rule"] == "oracle" and "fixed" in METRICS.get(row["metric"]).rules
        name = f"{row['metric']}.oracle" if also_fixed else row["metric"]
        assert found[name] == pytest.approx(row["value"], abs=1e-9), name
        assert found[f"{name}.ci_low"] == pytest.approx(row["ci_low"], abs=1e-9), name


def test_a_batch_without_an_object_has_no_metric_of_boxes() -> None:
    metric = wsol.LocalizationMetric("exact", interval=True)
    metric.update(np.eye(4)[None], [[]], masks=[np.zeros((224, 224))])
    found = metric.compute()
    assert not {"gt_known_loc_acc", "pxap"} & found.keys()
    assert found["mean_pixel_iou.ci_high"] == found["mean_pixel_iou"] == 0


@pytest.mark.slow
def test_a_run_of_a_network(synthetic_model: Model, tmp_path: Path) -> None:
    images = empty(load_dataset("synthetic").limit(7), 0, 3, 4, 6)
    options = {"model": synthetic_model, "batch_size": 2}  # the third batch is without objects in part
    run = wsol.evaluate(dataset=images, **options, out=tmp_path / "run")
    rest = wsol.evaluate(dataset=without(images), **options)
    pd.testing.assert_frame_equal(rows_of(run.metrics, False), rows_of(rest.metrics, False))
    assert set(rows_of(run.metrics, True)["n"]) == {7}
    stored = read_run(tmp_path / "run")
    assert stored.results.stats.objects.tolist() == [False, True, True, False, False, True, False]
    with ThreadPoolExecutor(2) as pool:
        assert verify_tables(stored, pool) == []
    again = wsol.score(run=tmp_path / "run", dataset=images, tau=0.2, out=tmp_path / "again")
    for name in ("metrics", "groups", "errors", "baselines", "predictions"):
        pd.testing.assert_frame_equal(getattr(again.tables, name), getattr(run.tables, name))
    bare = wsol.score(run=tmp_path / "run", protocol="zhou2016")  # without masks
    assert "pxap" not in set(bare.metrics["metric"])
    assert bare.metrics.set_index("metric").loc["top1_cls_err", "n"] == 7
    comparison = wsol.compare([tmp_path / "run", tmp_path / "again"], out=tmp_path / "comparison")
    own = comparison.curves.set_index("tau").loc[0.2, "run"]
    fixed = run.metrics.set_index(["metric", "tau_rule"]).loc[("gt_known_loc_acc", "fixed"), "value"]
    assert own == pytest.approx(fixed)
    assert "show no object" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
