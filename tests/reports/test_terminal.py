from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsol.datasets import Content
from wsol.metrics.summary import ALL_COLUMNS
from wsol.reports.terminal import format_metrics, format_run
from wsol.runs.metadata import DatasetRecord, RunMetadata, TauRecord, ValidationRecord
from wsol.runs.provenance import Provenance
from wsol.runs.read import Evaluation
from wsol.runs.results import Tables

METRICS = pd.DataFrame(
    [
        ["gt_known_loc_acc", "fixed", 0.2, 55.5556, np.nan, np.nan, 9, None, np.nan],
        ["gt_known_loc_acc", "oracle", 0.142, 57.037, 51.04, 63.0, 9, "wilson", 1.234],
        ["top1_cls_err", None, np.nan, 28.148, np.nan, np.nan, 9, None, np.nan],
        ["their_own", "fixed", 0.2, 1, np.nan, np.nan, 9, None, np.nan],
    ],
    columns=ALL_COLUMNS,
)


BASELINES = pd.DataFrame(
    [
        ["full-image", "gt_known_loc_acc", "fixed", 0.2, 31.25, np.nan, np.nan, 9, None, np.nan],
        ["full-image", "mean_iou", "fixed", 0.2, 12, np.nan, np.nan, 9, None, np.nan],
    ],
    columns=["baseline", *ALL_COLUMNS],
)


METADATA = RunMetadata(
    "sig",
    "",
    DatasetRecord("x", "test", "", 9, "", Content(), ("a", "b")),
    Provenance("net", "cam"),
    "exact",
    TauRecord("fixed", 0.2, 0.2),
    skipped={},
    clipped_boxes=0,
    val=None,
    notes=(),
    versions={},
    seconds={},
)


def report(**changes: Any) -> str:
    empty = pd.DataFrame()
    tables = Tables(METRICS, empty, empty, empty, BASELINES, empty)
    return format_run(Evaluation(tables, replace(METADATA, **changes)), Path("out"))


def test_one_row_per_metric_one_column_per_rule() -> None:
    rows = {line[:27].strip(): line[27:].split() for line in format_metrics(METRICS, BASELINES).splitlines()}
    assert rows["percent [95 %] @tau"] == ["no", "tau", "fixed", "oracle", "optimism"]
    assert rows["top-1 classification error"] == ["28.148"]
    assert rows["GT-known accuracy"] == ["55.556", "@0.200", "57.037", "[51.0,", "63.0]", "@0.142", "1.23"]
    assert rows["their_own"] == ["1.000", "@0.200"]
    assert rows["GT-known of full-image"] == ["31.250", "@0.200"]
    assert [*rows] == [
        "percent [95 %] @tau", "top-1 classification error", "GT-known accuracy", "their_own",
        "GT-known of full-image",
    ]  # fmt: skip


def test_skipped_images_clipped_boxes_and_notes_are_reported() -> None:
    plain = report()
    assert plain.startswith("sig\n\n")
    assert plain.endswith("\n9 images, written to out")
    assert report(dataset=replace(METADATA.dataset, n=1)).endswith("\n1 image, written to out")
    assert "2 unreadable images are NOT in these numbers" in report(skipped={"a": "broken", "b": "gone"})
    assert "1 unreadable images of val are NOT in the choice of tau" in report(val=ValidationRecord({"c": "broken"}, 0))
    assert "3 ground-truth boxes extend beyond their image" in report(clipped_boxes=3)
    assert "sig\nthe labels are odd\n" in report(notes=("the labels are odd",))
