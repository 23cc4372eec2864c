"""Every metric on four images and three thresholds, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from wsol.errors import InputError
from wsol.metrics.base import METRICS, LocalizationStats
from wsol.metrics.summary import resample_metrics, summarize, summarize_groups
from wsol.metrics.tau import find_tau_index

TAUS = np.array([0, 0.2, 0.4])
STATS = LocalizationStats(
    #            tau    0    0.2  0.4
    curves=np.array([[0.6, 0.5, 0.4], [0.5, 0.4, 0.7], [0.1, 0.2, 0.9], [0.49, 0.5, 0.5]], np.float32),
    delta=0.5,
    labels=np.array([0, 0, 0, 1]),
    ranks=np.array([1, 2, 0, 1]),  # first prediction, second, not among five, first
)
# hits: image 0 at 0, 0.2; image 1 at 0, 0.4; image 2 at 0.4; image 3 at 0.2, 0.4
VALIDATION = LocalizationStats(
    np.array([[0.9, 0.1, 0.1], [0.8, 0.2, 0.1]], np.float32), 0.5, np.array([0, 1]), np.array([1, 1])
)


def table(validation: LocalizationStats | None = None) -> dict[tuple[str, str], tuple[float, float]]:
    rows = summarize(STATS, TAUS, 0.2, validation)
    assert (rows.n == 4).all()
    return {(r.metric, r.tau_rule if isinstance(r.tau_rule, str) else ""): (r.tau, r.value) for r in rows.itertuples()}


def test_by_hand() -> None:
    found = table()
    assert found["gt_known_loc_acc", "fixed"] == (0.2, 50)  # images 0 and 3
    assert found["gt_known_loc_acc", "oracle"] == (0.4, 75)  # images 1, 2, 3
    assert found["max_box_acc", "oracle"] == (0.4, 75)
    assert found["top1_loc_err", "fixed"] == (0.2, 50)  # images 0 and 3 are right
    assert found["top1_loc_err", "oracle"] == (0.2, 50)  # 1 of 4 right at 0 and at 0.4
    assert found["top5_loc_err", "oracle"] == (0, 50)  # images 0, 1 at 0, as many later: the smallest tau
    assert found["top1_cls_err", ""][1] == 50
    assert found["top5_cls_err", ""][1] == 25
    assert found["mean_iou", "fixed"] == (0.2, pytest.approx(40))
    assert found["mean_iou", "oracle"] == (0.4, pytest.approx(62.5))
    assert not [key for key in found if key[1] == "val"]


def test_val_takes_its_tau_from_the_other_split() -> None:
    found = table(VALIDATION)
    assert found["gt_known_loc_acc", "val"] == (0, 50)
    assert found["top1_loc_err", "val"] == (0, 75)
    assert ("max_box_acc", "val") not in found


def test_classes_are_means_at_the_common_tau() -> None:
    groups = {("class", name): np.array(members) for name, members in (("a", [1, 3]), ("b", []), ("c", [0, 2]))}
    rows = summarize_groups(STATS, groups, resample_metrics(STATS, TAUS, 0.2))
    found = {(r.group, r.metric, r.tau_rule): (r.value, r.n) for r in rows.itertuples()}
    assert found["a", "gt_known_loc_acc", "oracle"] == (100, 2)  # images 1, 3 at 0.4
    assert found["c", "gt_known_loc_acc", "oracle"] == (50, 2)  # images 0, 2 at 0.4
    assert found["c", "mean_iou", "fixed"] == (pytest.approx(35), 2)
    assert set(rows.group) == {"a", "c"}
    assert set(rows.by) == {"class"}
    assert "corloc" not in set(rows.metric)  # it is the mean over classes itself
    single = summarize_groups(STATS, {("size", "small"): np.array([1])}, resample_metrics(STATS, TAUS, 0.2))
    ious = single[single.metric == "mean_iou"]
    np.testing.assert_allclose(ious[["ci_low", "ci_high"]], np.stack([ious.value] * 2, 1), rtol=1e-6)
    z = 1.959964  # 0 of 1: up to z^2 / (1 + z^2); 1 of 1: from 1 / (1 + z^2)
    shares = single[single.interval == "wilson"]
    assert {*shares.metric} >= {"gt_known_loc_acc", "top1_loc_err", "top5_cls_err"}
    for row in shares.itertuples():
        ends = (0, 100 * z**2 / (1 + z**2)) if row.value == 0 else (100 / (1 + z**2), 100)
        assert (row.ci_low, row.ci_high) == pytest.approx(ends, rel=1e-6)


def test_an_iou_of_exactly_delta_hits_also_where_delta_is_no_binary_fraction() -> None:
    ious = np.array([[3 / 10], [7 / 10], [0.29999]])
    assert LocalizationStats(ious.astype(np.float32), 0.3, np.zeros(3, int)).hits.ravel().tolist() == [
        True,
        True,
        False,
    ]
    assert LocalizationStats(ious.astype(np.float32), 0.7, np.zeros(3, int)).hits.ravel().tolist() == [
        False,
        True,
        False,
    ]


def test_tau_must_be_on_the_grid() -> None:
    assert find_tau_index(0.4, TAUS) == 2
    for tau in (0.3, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="not on the protocol's grid"):
            find_tau_index(tau, TAUS)


def test_unknown_metric_names_the_close_ones() -> None:
    with pytest.raises(InputError, match="did you mean top1_loc_err"):
        METRICS.get("top1_loc_er")


def test_max_box_acc_v2_by_hand() -> None:
    """The best hit rate at 0.3, 0.5 and 0.7, each at its own tau, and their mean."""
    assert ("max_box_acc_v2", "oracle") not in table()  # no IoUs of contours
    contours = np.array([[0.35, 0.1, 0.75], [0.3, 0.6, 0.1], [0.2, 0.55, 0.71], [0.9, 0.5, 0.1]], np.float32)
    rows = summarize(replace(STATS, contours=contours), TAUS, 0.2)
    found = {r.metric: (r.tau, r.value, r.ci_low, r.ci_high) for r in rows.itertuples() if "v2" in r.metric}
    assert found["max_box_acc_v2_30"][:2] == (0, 75)  # images 0, 1, 3; as many at 0.2
    assert found["max_box_acc_v2_50"][:2] == (0.2, 75)
    assert found["max_box_acc_v2_70"][:2] == (0.4, 50)
    assert found["max_box_acc_v2"][1] == pytest.approx((75 + 75 + 50) / 3)
    assert np.isnan(found["max_box_acc_v2"][0])
    low, high = found["max_box_acc_v2"][2:]
    assert 0 <= low < 66.6 < high <= 100


def test_corloc_is_the_mean_over_classes() -> None:
    found = table()
    assert found["corloc", "fixed"] == (0.2, pytest.approx((100 / 3 + 100) / 2))  # image 0 of three, image 3
    assert found["corloc", "oracle"] == (0.4, pytest.approx((200 / 3 + 100) / 2))


def test_metrics_without_their_statistics_are_omitted_not_zero() -> None:
    needs = {name: {*METRICS.get(name).needs} for name in METRICS.names()}
    found = {r.metric for r in summarize(replace(STATS, ranks=None), TAUS, 0.2).itertuples()}
    assert {"gt_known_loc_acc", "max_box_acc", "corloc", "mean_iou"} <= found
    assert found == {name for name in needs if needs[name] == {"complete"}}
    found = {r.metric for r in summarize(replace(STATS, complete=False), TAUS, 0.2).itertuples()}
    assert {"top1_loc_err", "top5_loc_err", "top1_cls_err", "top5_cls_err"} <= found
    assert found == {name for name in needs if needs[name] <= {"ranks", "top5", "guesses"}}
    found = {r.metric for r in summarize(replace(STATS, top5=False), TAUS, 0.2).itertuples()}
    assert {"top1_loc_err", "top1_cls_err", "gt_known_loc_acc"} <= found
    assert found.isdisjoint({"top5_loc_err", "top5_cls_err", "top5_loc_err_pairs"})
    peaks = summarize(replace(STATS, peaks=np.array([True, True, True, False])), TAUS, 0.2).set_index("metric")
    assert peaks.loc["pointing_game", "value"] == 75


def test_without_thresholds_each_number_stands_once() -> None:
    one = replace(STATS, curves=STATS.curves[:, :1])
    rows = summarize(one, np.empty(0), 0.2).set_index("metric")
    assert rows.loc["gt_known_loc_acc", "value"] == 50
    assert rows["tau"].isna().all()
    assert rows["tau_rule"].isna().all()
    assert "max_box_acc" not in rows.index
    assert rows.index.is_unique


def test_two_boxes_for_the_first_two_classes_and_one_for_the_third() -> None:
    hit, miss = 0.6, 0.1
    curves = np.array([[miss], [miss], [miss], [hit], [hit], [miss]], np.float32)
    second = np.array([[hit], [hit], [hit], [miss], [hit], [miss]], np.float32)
    stats = LocalizationStats(curves, 0.5, np.zeros(6, int), np.array([1, 2, 3, 3, 4, 1]), second=second)
    rows = summarize(stats, np.empty(0), 0.2).set_index("metric")
    # right: ranks 1 and 2 by their second box, rank 3 by its first; wrong: rank 3 by its second, rank 4, no box
    assert rows.loc["top5_loc_err_pairs", "value"] == 50
    assert rows.loc["top5_loc_err", "value"] == pytest.approx(100 * 4 / 6)


def test_a_tau_between_others_that_give_the_same_boxes() -> None:
    """Taus that change nothing are merged internally; the first tau of each run of equal ones is reported."""
    curves = np.repeat(STATS.curves, [2, 3, 1], axis=1)
    taus = np.array([0, 0.1, 0.2, 0.3, 0.35, 0.4])
    rows = summarize(replace(STATS, curves=curves), taus, 0.3, replace(VALIDATION, curves=curves[:2]))
    found = {(r.metric, r.tau_rule): (r.tau, r.value) for r in rows.itertuples()}
    assert found["gt_known_loc_acc", "fixed"] == (0.3, 50)
    assert found["gt_known_loc_acc", "oracle"] == (0.4, 75)
    assert found["top1_loc_err", "oracle"] == (0.2, 50)
    assert found["gt_known_loc_acc", "val"] == (0, 50)
