"""Tables of ``finetuning_study.py``: the data, the choice of tau, and the spread over seeds."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.datasets._images import read_batches
from wsol.metrics.bootstrap import best_resampled_means
from wsol.models import Model
from wsol.runs.read import StoredRun

SIDE, BATCH = 224, 8


def count_images(splits: Iterable[Dataset]) -> Iterator[dict[str, object]]:
    """Yield the number of images of each split, and the smallest and largest number of a class."""
    for images in splits:
        counts = np.bincount([sample.label for sample in images], minlength=len(images.classes))
        yield {"split": images.split, "images": len(images), "fewest": counts.min(), "most": counts.max()}


def nearest_neighbor_errors(model: Model, train: Dataset, val: Dataset, test: Dataset) -> dict[str, object]:
    """Return the classification error of the nearest training image, by the cosine of pooled ImageNet features."""
    known, labels = pooled_features(model, train)
    errors = {}
    for images in (val, test):
        features, true = pooled_features(model, images)
        errors[images.split] = 100 * float((labels[(features @ known.T).argmax(1)] != true).mean())
    return {"split": "1-NN", "val_err": errors["val"], "test_err": errors["test"]}


def pooled_features(model: Model, images: Dataset) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the mean of the maps of the target layer, scaled to norm 1, ``(n, C)``, and the labels."""
    rows = []
    for batch in read_batches(images.samples, SIDE, BATCH, 1, skip_bad=False):
        with torch.inference_mode():
            pixels = model.preprocessing.normalize(batch.pixels, torch.device("cpu"))
            rows.append(model.network.forward_features(pixels)[0].mean((2, 3)).numpy())
    features = np.concatenate(rows)
    labels = np.array([sample.label for sample in images])
    return features / np.linalg.norm(features, axis=1, keepdims=True), labels


def choose_tau_again(run: StoredRun) -> dict[str, float]:
    """Return what the choice of tau on val costs in GT-known accuracy, and how uncertain it is.

    ``tied_low`` to ``tied_high`` are the taus that are as good on val as the chosen one, which is the smallest of them,
    and ``tied_value_low`` to ``tied_value_high`` the accuracies on test there. ``tau_low`` to ``value_high`` are the
    95 % percentiles of the tau that is chosen on resamples of val, and of the accuracy on test there.
    """
    assert run.validation is not None
    values = run.tables.metrics.set_index(["metric", "tau_rule"])
    val, oracle = (values.loc[("gt_known_loc_acc", rule)] for rule in ("val", "oracle"))
    line = {"val_images": len(run.validation.results.truths), "tau": val["tau"], "value": val["value"]}
    line |= {"oracle_tau": oracle["tau"], "oracle": oracle["value"], "cost": oracle["value"] - val["value"]}
    if not len(run.taus):  # boxes have no threshold
        return line
    hits, val_hits = run.results.stats.hits, run.validation.results.stats.hits
    accuracy, on_val = 100 * hits.mean(0), val_hits.mean(0)
    tied = np.flatnonzero(on_val == on_val.max())
    line |= {"tied_low": run.taus[tied[0]], "tied_high": run.taus[tied[-1]]}
    line |= {"tied_value_low": accuracy[tied].min(), "tied_value_high": accuracy[tied].max()}
    chosen = best_resampled_means(val_hits)[1]
    columns = np.stack([run.taus[chosen], accuracy[chosen]])
    ends = np.quantile(columns, [0.025, 0.975], axis=1)
    line |= {"tau_low": ends[0, 0], "tau_high": ends[1, 0], "value_low": ends[0, 1], "value_high": ends[1, 1]}
    return line


def summarize_seeds(leaderboard: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Return mean, spread, interval over seeds and images, and rank of each row, metric and rule.

    Args:
        leaderboard: The metrics of each run, of which lowest and highest are taken.
        compared: ``metrics`` of the comparison of all rows as groups of seeds, with the name of the row as ``row``.
    """
    keys = ["row", "metric", "tau_rule"]
    ends = leaderboard.groupby(keys, dropna=False)["value"].agg(lowest="min", highest="max").reset_index()
    table = compared.rename(columns={"value": "mean"}).merge(ends, on=keys).assign(images=leaderboard["images"].iloc[0])
    statistics = ["images", "seeds", "mean", "sd", "lowest", "highest", "ci_low", "ci_high", "rank", "tied"]
    return table[[*keys, *statistics]]
