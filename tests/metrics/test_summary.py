"""Every metric on four images and three thresholds, worked out by hand."""

import numpy as np
import pytest

from wsol.errors import InputError
from wsol.metrics.base import METRICS, Evidence
from wsol.metrics.summary import grid_level, per_class, summarise

TAUS = np.array([0, 0.2, 0.4])
EVIDENCE = Evidence(
    #            tau    0    0.2  0.4
    curves=np.array([[0.6, 0.5, 0.4], [0.5, 0.4, 0.7], [0.1, 0.2, 0.9], [0.49, 0.5, 0.5]], np.float32),
    ranks=np.array([1, 2, 0, 1]),  # first guess, second guess, not among five, first guess
    delta=0.5,
)
# hits: image 0 at 0, 0.2; image 1 at 0, 0.4; image 2 at 0.4; image 3 at 0.2, 0.4
VALIDATION = Evidence(np.array([[0.9, 0.1, 0.1], [0.8, 0.2, 0.1]], np.float32), np.array([1, 1]), 0.5)


def table(validation: Evidence | None = None) -> dict[tuple[str, str], tuple[float, float]]:
    rows = summarise(EVIDENCE, TAUS, 0.2, validation)
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
    rows = per_class(EVIDENCE, np.array([2, 0, 2, 0]), ("a", "b", "c"), TAUS, 0.2)
    found = {(r["class"], r.metric, r.tau_rule): (r.value, r.n) for _, r in rows.iterrows()}
    assert found["a", "gt_known_loc_acc", "oracle"] == (100, 2)  # images 1, 3 at 0.4
    assert found["c", "gt_known_loc_acc", "oracle"] == (50, 2)  # images 0, 2 at 0.4
    assert found["c", "mean_iou", "fixed"] == (pytest.approx(35), 2)
    assert set(rows["class"]) == {"a", "c"}
    uneven = per_class(EVIDENCE, np.array([2, 0, 0, 0]), ("a", "b", "c"), TAUS, 0.2)
    found = {(r["class"], r.metric): (r.value, r.n) for _, r in uneven.iterrows() if r.metric == "top1_cls_err"}
    assert found == {("a", "top1_cls_err"): (pytest.approx(200 / 3), 3), ("c", "top1_cls_err"): (0, 1)}


def test_an_iou_of_exactly_delta_hits_also_where_delta_is_no_binary_fraction() -> None:
    ious = np.array([[3 / 10], [7 / 10], [0.29999]])
    assert Evidence(ious.astype(np.float32), np.ones(3, int), 0.3).hits.ravel().tolist() == [True, True, False]
    assert Evidence(ious.astype(np.float32), np.ones(3, int), 0.7).hits.ravel().tolist() == [False, True, False]


def test_tau_must_be_on_the_grid() -> None:
    assert grid_level(0.4, TAUS) == 2
    for tau in (0.3, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="not on the protocol's grid"):
            grid_level(tau, TAUS)


def test_unknown_metric_names_the_close_ones() -> None:
    with pytest.raises(InputError, match="did you mean top1_loc_err"):
        METRICS.get("top1_loc_er")


def test_max_box_acc_v2_by_hand() -> None:
    """The best hit rate at 0.3, 0.5 and 0.7, each with a tau of its own, and their mean."""
    assert ("max_box_acc_v2", "oracle") not in table()  # no evidence of contours
    contours = np.array([[0.35, 0.1, 0.75], [0.3, 0.6, 0.1], [0.2, 0.55, 0.71], [0.9, 0.5, 0.1]], np.float32)
    rows = summarise(Evidence(EVIDENCE.curves, EVIDENCE.ranks, 0.5, contours), TAUS, 0.2)
    found = {r.metric: (r.tau, r.value, r.ci_low, r.ci_high) for r in rows.itertuples() if "v2" in r.metric}
    assert found["max_box_acc_v2_30"][:2] == (0, 75)  # images 0, 1, 3; as many at 0.2
    assert found["max_box_acc_v2_50"][:2] == (0.2, 75)
    assert found["max_box_acc_v2_70"][:2] == (0.4, 50)
    assert found["max_box_acc_v2"][1] == pytest.approx((75 + 75 + 50) / 3)
    assert np.isnan(found["max_box_acc_v2"][0])
    low, high = found["max_box_acc_v2"][2:]
    assert low < 66.7 < high <= 100
