"""Which rows stand in one table, and in what order."""

from collections.abc import Iterable, Sequence

from wsol.leaderboards.rows import Row, column
from wsol.metrics.base import METRICS

_HEADLINES = ("top1_loc_err", "gt_known_loc_acc")  # the second where there are no classes
_RULES = ("fixed", "", "val", "oracle")


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Sorts rows by group, measured before published, and by top-1 localization error within.

    Rows that have it at the fixed tau come first, best first; then those that have it without a threshold, at the
    val-chosen tau, at the oracle tau; then those without classes by GT-known accuracy, likewise.
    """
    return sorted(rows, key=_key)


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Divides ranked rows into those that stand in one table."""
    return {group: [row for row in rows if row["group"] == group] for group in dict.fromkeys(r["group"] for r in rows)}


def _key(row: Row) -> tuple[str, bool, int, float, tuple[str, ...]]:
    names = tuple(str(row.get(part, "")) for part in ("run", "source", "model", "method", "protocol"))
    place, value = _headline(row)
    return row["group"], row["kind"] != "measured", place, value, names


def _headline(row: Row) -> tuple[int, float]:
    """Returns which number a row is sorted by, and the number, small where it is good."""
    candidates = [(metric, rule) for metric in _HEADLINES for rule in _RULES]
    for place, (metric, rule) in enumerate(candidates):
        if (value := row.get(column(metric, rule))) is not None:
            return place, value if METRICS.get(metric).better == "lower" else -value
    return len(candidates), 0.0
