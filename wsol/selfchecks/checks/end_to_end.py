"""A run of the bundled network on three images, compared with the reference implementation."""

import numpy as np
import torch

import wsol
from wsol.datasets import load_dataset
from wsol.selfchecks.checks.bundled import load_network
from wsol.selfchecks.expect import assert_close, index_metrics
from wsol.selfchecks.outcome import Checks
from wsol.selfchecks.reference import compute_iou, compute_maps, compute_pxap, prepare_map

# A box that is a hit at tau 0.2, a wrong class, and a box that is a hit at other taus only. At none of the 26 taus is
# an IoU so close to 0.5 that rounding could change a hit.
_IMAGES = (10, 18, 23)
_LEVELS = 26
_FIXED = 5  # index of tau 0.2


def _check_run() -> None:
    images = load_dataset("synthetic", dataset_args={"images": "24"}).subset(_IMAGES)
    evaluation = wsol.evaluate(load_network("cpu"), dataset=images, protocol=f"exact:levels={_LEVELS}")
    found = index_metrics(evaluation.metrics)

    pixels = np.stack([sample.render() for sample in images if sample.render is not None])
    foreground = np.stack([sample.mask().foreground for sample in images if sample.mask is not None])
    labels = [sample.label for sample in images]
    maps = compute_maps(pixels, torch.float32)
    correct = maps.mean((2, 3)).argmax(1).numpy() == labels
    scores = np.stack([prepare_map(each[label]) for each, label in zip(maps, labels, strict=True)])
    taus = np.arange(_LEVELS) / (_LEVELS - 1)
    truths = [tuple(sample.boxes[0]) for sample in images]
    ious = np.array([[compute_iou(each, tau, box) for tau in taus] for each, box in zip(scores, truths, strict=True)])
    hits = ious >= 0.5
    for metric, rule, value, within in (
        ("top1_cls_err", "", 1 - correct.mean(), 0),
        ("gt_known_loc_acc", "fixed", hits[:, _FIXED].mean(), 0),
        ("top1_loc_err", "fixed", 1 - (correct & hits[:, _FIXED]).mean(), 0),
        ("max_box_acc", "oracle", hits.mean(0).max(), 0),
        ("mean_iou", "fixed", ious[:, _FIXED].mean(), 0.2),  # points: rounding may move a pixel across a threshold
        ("pxap", "", compute_pxap(scores, foreground, taus), 0.01),
    ):
        result, _ = found.get((metric, rule), (np.nan, np.nan))
        assert_close(result, 100 * value, within + 1e-4, f"{metric} {rule}".strip())


RUNS_NETWORKS = True
CHECKS: Checks = {"end to end: a run on three images": _check_run}
