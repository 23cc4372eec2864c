"""Rows of trainings that differ in the seed alone, averaged."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from wsol.leaderboards.rows import Row, metric_column
from wsol.metrics.base import METRICS
from wsol.reports.terminal import RULES

_KEY = ("group", "recipe", "method", "version")
_WEIGHTS = re.compile(r":[0-9a-f]{8}(?=\+|$)")
_CHOSEN_TAU = re.compile(r"=[^=()]*$")


def average_rows(rows: Sequence[Row]) -> list[Row]:
    """Average measured rows whose trainings have the same recipe and different seeds.

    Args:
        rows: Ranked rows; those of weights without a recipe belong to no average. Of several rows with the same seed
            the one with the first signature counts, whatever its numbers: the first row would be the best one.

    Returns:
        One row for each recipe with two seeds or more: ``group``, ``recipe``, ``model`` (with ``*`` in place of the
        weights), ``method``, ``tau`` (the rule, or the given threshold), ``seeds`` (their number), ``runs`` (names),
        ``places`` (their positions among the measured rows, from 0), ``differs`` (the settings of the recipe in which
        it differs from others of the same group, model, method and tau, if there are others), and for every metric and
        rule that all of them have ``METRIC@RULE``, the mean in percent, and ``METRIC@RULE.sd``, the standard deviation
        (n - 1) in points.
    """
    measured = [row for row in rows if row["kind"] == "measured"]
    by_recipe: dict[tuple[str, ...], dict[int, int]] = {}
    for place, row in enumerate(measured):
        if "recipe" in row and "seed" in row:
            key = (*(row[column] for column in _KEY), _tau_rule(row))
            places = by_recipe.setdefault(key, {})
            other = places.setdefault(row["seed"], place)
            if row["signature"] < measured[other]["signature"]:
                places[row["seed"]] = place
    several = [(key, sorted(places.values())) for key, places in by_recipe.items() if len(places) > 1]
    averages = [_average([measured[place] for place in places], places, key[-1]) for key, places in several]
    alike: defaultdict[tuple[str, ...], dict[int, dict[str, str]]] = defaultdict(dict)
    for i, mean in enumerate(averages):
        shown = tuple(mean[column] for column in ("group", "model", "method", "tau"))
        alike[shown][i] = _flatten_settings(json.loads(measured[mean["places"][0]].get("settings", "{}")))
    for settings in alike.values():
        names = dict.fromkeys(name for each in settings.values() for name in each)
        differing = [name for name in names if len({each.get(name, "none") for each in settings.values()}) > 1]
        for i, each in settings.items():
            if differing:
                averages[i]["differs"] = ", ".join(f"{name}={each.get(name, 'none')}" for name in differing)
    return averages


def _flatten_settings(settings: dict[str, Any]) -> dict[str, str]:
    """Return the settings of a recipe as short texts; those of a single stage are among them by their own names."""
    stages = settings.get("stages")
    if isinstance(stages, list) and len(stages) == 1 and isinstance(stages[0], dict):
        settings = {**{name: value for name, value in settings.items() if name != "stages"}, **stages[0]}
    return {
        name: "none" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in settings.items()
    }


def _average(rows: Sequence[Row], places: Sequence[int], tau: str) -> Row:
    first = rows[0]
    result: Row = {
        "group": first["group"],
        "recipe": first["recipe"],
        "model": _WEIGHTS.sub(":*", first["model"], count=1),
        "method": first["method"],
        "tau": tau,
        "seeds": len(rows),
        "runs": [row["run"] for row in rows],
        "places": [*places],
    }
    for column in _metric_columns(rows):
        values = [row[column] for row in rows]
        result |= {column: fmean(values), f"{column}.sd": stdev(values)}
    return result


def _metric_columns(rows: Iterable[Row]) -> list[str]:
    """Return the columns of metrics in which all rows have a value."""
    every = [metric_column(metric, rule) for metric in METRICS.names() for rule in RULES]
    return [column for column in every if all(column in row for row in rows)]


def _tau_rule(row: Row) -> str:
    """Return the threshold of a row's signature without the value that a rule chose."""
    tau: str = row["tau"].removeprefix("tau:")
    return _CHOSEN_TAU.sub("", tau)
