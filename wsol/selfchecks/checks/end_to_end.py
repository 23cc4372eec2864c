"""A run of the bundled network on three images, and its numbers worked out a second time."""

import numpy as np
import torch

import wsol
from wsol.datasets import load_dataset
from wsol.selfchecks.checks.bundled import network
from wsol.selfchecks.expect import Checks, assert_close, by_name
from wsol.selfchecks.reference import plain_iou, plain_maps, plain_precision, plain_scores

# A box that is right at tau 0.2, a wrong class, and a box that is right at another tau alone. At none of the 26 taus is
# an IoU so near to 0.5 that the last bits of a machine could turn it.
_IMAGES = (10, 18, 23)
_LEVELS = 26
_FIXED = 5  # place of tau 0.2


def _evaluate() -> None:
    images = load_dataset("synthetic", dataset_args={"images": "24"}).subset(_IMAGES)
    result = wsol.evaluate(network("cpu"), dataset=images, protocol=f"exact:levels={_LEVELS}")
    found = by_name(result.metrics)

    pixels = np.stack([sample.render() for sample in images if sample.render is not None])
    foreground = np.stack([sample.mask().foreground for sample in images if sample.mask is not None])
    labels = [sample.label for sample in images]
    maps = plain_maps(pixels, torch.float32)
    right = maps.mean((2, 3)).argmax(1).numpy() == labels
    scores = np.stack([plain_scores(each[label]) for each, label in zip(maps, labels, strict=True)])
    taus = np.arange(_LEVELS) / (_LEVELS - 1)
    truths = [tuple(sample.boxes[0]) for sample in images]
    ious = np.array([[plain_iou(each, tau, box) for tau in taus] for each, box in zip(scores, truths, strict=True)])
    hits = ious >= 0.5
    for metric, rule, value, within in (
        ("top1_cls_err", "", 1 - right.mean(), 0),
        ("gt_known_loc_acc", "fixed", hits[:, _FIXED].mean(), 0),
        ("top1_loc_err", "fixed", 1 - (right & hits[:, _FIXED]).mean(), 0),
        ("max_box_acc", "oracle", hits.mean(0).max(), 0),
        ("mean_iou", "fixed", ious[:, _FIXED].mean(), 0.2),  # points: a pixel at a threshold may fall on either side
        ("pxap", "", plain_precision(scores, foreground, taus), 0.01),
    ):
        got, _ = found.get((metric, rule), (np.nan, np.nan))
        assert_close(got, 100 * value, within + 1e-4, f"{metric} {rule}".strip())


CHECKS: Checks = {"the whole way: a run of three images": _evaluate}
