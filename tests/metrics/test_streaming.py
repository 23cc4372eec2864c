"""Sums over images give the metrics of the images, whatever the order and the parts in which they come."""

from dataclasses import fields, replace

import numpy as np
import pytest

from wsol.errors import InputError
from wsol.metrics.base import METRICS, LocalizationStats
from wsol.metrics.localization import metrics_at
from wsol.metrics.streaming import StreamingMetrics
from wsol.metrics.summary import summarize

TAUS = np.array([0, 0.2, 0.4])
BY_HAND = LocalizationStats(
    #            tau    0    0.2  0.4
    curves=np.array([[0.6, 0.5, 0.4], [0.5, 0.4, 0.7], [0.1, 0.2, 0.9], [0.49, 0.5, 0.5]], np.float32),
    delta=0.5,
    labels=np.array([0, 0, 0, 1]),
    ranks=np.array([1, 2, 0, 1]),
    contours=np.array([[0.75, 0.5, 0.4], [0.5, 0.4, 0.7], [0.3, 0.3, 0.9], [0.7, 0.5, 0.5]], np.float32),
)


def part_of(stats: LocalizationStats, indices: np.ndarray) -> LocalizationStats:
    values = {field.name: getattr(stats, field.name) for field in fields(stats)}
    return replace(stats, **{name: array[indices] for name, array in values.items() if isinstance(array, np.ndarray)})


def stream(stats: LocalizationStats, taus: np.ndarray, parts: int, classes: int | None = 3, deltas=(0.3, 0.5, 0.7)):
    example = part_of(stats, np.array([0]))
    metrics = StreamingMetrics(metrics_at(deltas), example, taus, 0.2, classes)
    sums = np.zeros(metrics.size, np.int64)
    class_sums = np.zeros((classes or 0, metrics.class_size), np.int64)
    for indices in np.array_split(np.random.default_rng(parts).permutation(len(stats)), parts):
        part = part_of(stats, indices)
        sums += metrics.sums(part)
        if classes:
            np.add.at(class_sums, part.labels, metrics.class_rows(part))
    return {(each.metric.name, each.rule or ""): each for each in metrics.values(sums, class_sums if classes else None)}


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_by_hand(parts: int) -> None:
    found = {key: 100 * each.value for key, each in stream(BY_HAND, TAUS, parts).items()}
    assert found["gt_known_loc_acc", "fixed"] == 50  # images 0 and 3
    assert found["gt_known_loc_acc", "oracle"] == found["max_box_acc", "oracle"] == 75  # images 1, 2, 3 at 0.4
    assert found["top1_loc_err", "fixed"] == 50
    assert found["top5_loc_err", "oracle"] == 50
    assert found["top1_cls_err", ""] == 50
    assert found["top5_cls_err", ""] == 25
    assert found["corloc", "fixed"] == pytest.approx(100 * (1 / 3 + 1) / 2)  # images 0 of 0, 1, 2; and 3
    assert found["mean_iou", "oracle"] == pytest.approx(62.5)
    assert found["max_box_acc_v2_30", "oracle"] == 100  # at each
    assert found["max_box_acc_v2_50", "oracle"] == 75  # images 1, 2, 3 at 0.4; 0, 1 and 3 at 0
    assert found["max_box_acc_v2_70", "oracle"] == 50  # images 0 and 3 at 0; 1 and 2 at 0.4
    assert found["max_box_acc_v2", "oracle"] == 75
    assert stream(BY_HAND, TAUS, parts)["gt_known_loc_acc", "oracle"].tau == 0.4


def test_other_deltas() -> None:
    found = stream(BY_HAND, TAUS, 2, deltas=(0.9, 0.75))
    assert found["max_box_acc_v2_90", "oracle"].value == 0.25  # image 2
    assert found["max_box_acc_v2_75", "oracle"].value == 0.25  # image 0 at 0
    assert not {"max_box_acc_v2", "max_box_acc_v2_30", "max_box_acc_v2_50"} & {name for name, _ in found}
    assert "max_box_acc_v2" in {name for name, _ in stream(BY_HAND, TAUS, 1, deltas=(0.3, 0.4, 0.5, 0.7))}


def draw_stats(rng: np.random.Generator, n: int, taus: int, off_grid: int | None) -> LocalizationStats:
    curves, contours, second = rng.random((3, n, taus), np.float32).round(2)
    return LocalizationStats(
        curves,
        0.5,
        rng.integers(0, 3, n),
        rng.integers(0, 6, n),
        rng.random(n) < 0.4,
        np.maximum(contours, curves),
        second,
        rng.integers(0, 4, (n, taus + 1, 2), np.uint32),
        off_grid=off_grid,
        attribution=rng.random((n, 6), np.float32).round(1),
    )


@pytest.mark.parametrize("off_grid", [None, 2])
@pytest.mark.parametrize("parts", [1, 3, 7])
def test_equals_the_table_of_all_images(off_grid: int | None, parts: int) -> None:
    taus = np.array([0, 0.1, 0.15, 0.2, 0.3, 0.4]) if off_grid else np.arange(6) / 10
    stats = draw_stats(np.random.default_rng(1), 23, 6, off_grid)
    table = summarize(stats, taus, 0.2)
    found = stream(stats, taus, parts)
    assert {key[0] for key in found} == {*METRICS.names()}
    assert len(found) == len(table)
    for row in table.itertuples():
        each = found[row.metric, row.tau_rule if isinstance(row.tau_rule, str) else ""]
        assert 100 * each.value == pytest.approx(row.value, rel=1e-13, abs=1e-10), row.metric
        assert each.tau == row.tau or (np.isnan(each.tau) and np.isnan(row.tau)), row.metric
        if row.metric in ("top1_loc_err", "gt_known_loc_acc", "pxap", "pointing_game", "top5_cls_err", "mean_iou"):
            assert 100 * each.value == row.value, row.metric  # in every bit


def test_equals_the_table_without_a_threshold() -> None:
    stats = replace(draw_stats(np.random.default_rng(2), 9, 1, None), contours=None, pixels=None)
    table = summarize(stats, np.empty(0), None)
    found = stream(stats, np.empty(0), 2)
    assert len(found) == len(table)
    assert all(found[row.metric, ""].value * 100 == pytest.approx(row.value) for row in table.itertuples())


def test_sums_do_not_depend_on_the_parts() -> None:
    stats = draw_stats(np.random.default_rng(3), 40, 50, None)
    one, many = (stream(stats, np.arange(50) / 50, parts) for parts in (1, 13))
    assert [each.value for each in one.values()] == [each.value for each in many.values()]


def test_metrics_by_class_need_the_number_of_classes() -> None:
    assert ("corloc", "fixed") not in stream(BY_HAND, TAUS, 1, classes=None)


def test_what_only_some_images_have_is_named() -> None:
    metrics = StreamingMetrics(metrics_at((0.5,)), part_of(BY_HAND, np.array([0])), TAUS, 0.2, None)
    with pytest.raises(InputError, match="no image"):
        [*metrics.values(np.zeros(metrics.size, np.int64))]
    mixed = metrics.sums(BY_HAND) + metrics.sums(replace(BY_HAND, ranks=None))
    with pytest.raises(InputError, match="4 of 8 images have logits"):
        [*metrics.values(mixed)]
    with pytest.raises(InputError, match="more than the"):
        [*metrics.values(metrics.sums(BY_HAND) * (1 << 20 | 1))]
