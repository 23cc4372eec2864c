"""Images on a list of exclusions from localization, as the ILSVRC devkit has one, count in classification alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.datasets import Dataset, Sample, check_dataset, load_dataset
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.metrics.base import LocalizationStats
from wsol.metrics.summary import resample_metrics, summarize, summarize_groups
from wsol.models import Model
from wsol.runs.read import Evaluation, read_run

CLASSIFICATION = ["top1_cls_err", "top5_cls_err"]


def exclude(images: Dataset, *places: int) -> Dataset:
    samples = [
        replace(sample, boxes=as_boxes([]), mask=None, class_only=True) if i in places else sample
        for i, sample in enumerate(images)
    ]
    return replace(images, samples=tuple(samples), origin="blacklist:test")


def rows_of(result: Evaluation, classification: bool) -> pd.DataFrame:
    table = result.metrics
    return table[table.metric.isin(CLASSIFICATION) == classification].reset_index(drop=True)


def test_metrics_by_hand() -> None:
    stats = LocalizationStats(
        np.array([[0.6], [0.6], [0.1], [0.6]], np.float32),
        0.5,
        np.array([0, 0, 1, 1]),
        np.array([1, 2, 1, 0]),
        class_only_ranks=np.array([1, 0, 6, 5]),
    )
    found = summarize(stats, np.empty(0), 0.2).set_index("metric")
    assert found.loc["top1_cls_err", ["value", "n"]].tolist() == [100 * 5 / 8, 8]  # ranks 2, 0, 0, 6, 5
    assert found.loc["top5_cls_err", ["value", "n"]].tolist() == [100 * 3 / 8, 8]  # ranks 0, 0, 6
    assert found.loc["top1_loc_err", ["value", "n"]].tolist() == [75, 4]
    assert found.loc["gt_known_loc_acc", ["value", "n"]].tolist() == [75, 4]
    groups = summarize_groups(
        stats, {("class", "0"): np.array([0, 1])}, resample_metrics(stats, np.empty(0), 0.2)
    ).set_index("metric")
    assert groups.loc["top1_cls_err", ["value", "n"]].tolist() == [50, 2]


@pytest.mark.slow
def test_a_run(synthetic_model: Model, tmp_path: Path) -> None:
    images = load_dataset("synthetic").limit(5)
    places = (0, 2, 4)  # with the batches 0 1, 2 3 and 4: the last one has no image to localize
    options = {"model": synthetic_model, "batch_size": 2}
    whole = wsol.evaluate(dataset=images, **options)
    rest = wsol.evaluate(dataset=exclude(images, *places).localizable(), **options)
    run = wsol.evaluate(dataset=exclude(images, *places), **options, out=tmp_path / "run")
    columns = ["metric", "value", "n"]  # intervals resample the images in another order
    pd.testing.assert_frame_equal(rows_of(run, True)[columns], rows_of(whole, True)[columns])
    pd.testing.assert_frame_equal(rows_of(run, False), rows_of(rest, False))
    for name in ("baselines", "errors", "groups", "predictions"):
        pd.testing.assert_frame_equal(getattr(run.tables, name), getattr(rest.tables, name))
    assert "3 images that are excluded from localization count in the classification error only" in run.metadata.notes
    assert run.metadata.dataset.n == 2
    assert "(blacklist:test)#2:" in run.signature
    stored = read_run(tmp_path / "run").results.stats
    assert len(stored.class_only_ranks) == 3
    assert np.load(tmp_path / "run" / "maps.npy").shape[0] == 2
    again = wsol.score(run=tmp_path / "run")
    pd.testing.assert_frame_equal(rows_of(again, True), rows_of(run, True))
    assert again.metadata.notes == run.metadata.notes


def test_boxes_with_classes(tmp_path: Path) -> None:
    samples = [Sample(f"{i}.png", i % 2, as_boxes([[0, 0, 10, 10]]), "edges", size=(60, 40)) for i in range(4)]
    images = exclude(Dataset("squares", "test", tuple(samples), ("a", "b")), 2, 3)
    rows = ["image_id,class_id,x0,y0,x1,y1", "0.png,0,0,0,10,10", "1.png,1,0,0,10,10", "2.png,1,0,0,60,40"]
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join([*rows, "3.png,0,0,0,60,40", "3.png,1,0,0,60,40"]) + "\n")
    found = wsol.score(boxes=path, dataset=images).metrics.set_index("metric")
    assert found.loc["top1_cls_err", ["value", "n"]].tolist() == [50, 4]
    assert found.loc["top5_cls_err", ["value", "n"]].tolist() == [25, 4]
    assert found.loc["top1_loc_err", ["value", "n"]].tolist() == [0, 2]
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=r"1 missing: 3\.png"):
        wsol.score(boxes=path, dataset=images)
    assert set(wsol.score(boxes=path, dataset=images, skip_bad=True).metrics.n) == {2, 3}


@pytest.mark.slow
def test_sources_without_classes_leave_them_out() -> None:
    images = load_dataset("synthetic").limit(4)
    found = wsol.score(baseline="center-box", dataset=exclude(images, 1))
    expected = wsol.score(baseline="center-box", dataset=exclude(images, 1).localizable())
    pd.testing.assert_frame_equal(found.metrics, expected.metrics)


def test_only_listed_images_may_lack_boxes() -> None:
    images = load_dataset("synthetic").limit(3)
    check_dataset(exclude(images, 1))
    with pytest.raises(InputError, match="has no box"):
        check_dataset(replace(images, samples=(replace(images.samples[0], boxes=as_boxes([])),)))
    with pytest.raises(InputError, match="has a box, although it counts in classification only"):
        check_dataset(replace(images, samples=(replace(images.samples[0], class_only=True),)))
