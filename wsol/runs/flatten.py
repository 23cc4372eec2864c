"""The table of metrics as a flat dict, for loggers."""

import pandas as pd

Flat = dict[str, float | int | str]
"""Numbers and strings by key."""

_COLUMNS = {"value": "", "ci_low": ".ci_low", "ci_high": ".ci_high", "tau": ".tau", "optimism": ".optimism"}


def flatten_metrics(table: pd.DataFrame, n: int) -> Flat:
    """Flatten a table of metrics.

    Args:
        table: metric, tau_rule, tau, value, ci_low, ci_high, n, interval, optimism.
        n: Number of images of the run.

    Returns:
        For each row the value (percent) as ``METRIC/RULE``, or ``METRIC`` where no threshold applies, and with the
        suffixes ``.ci_low`` and ``.ci_high`` the ends of its interval (percent), ``.tau`` its threshold, ``.optimism``
        that of an oracle value (points), and ``.n`` its number of images where that is not ``n``. What a row does not
        have is absent, never NaN.
    """
    flat: Flat = {}
    for row in table.to_dict("records"):
        key = row["metric"] if pd.isna(row["tau_rule"]) else f"{row['metric']}/{row['tau_rule']}"
        flat |= {key + suffix: float(row[name]) for name, suffix in _COLUMNS.items() if not pd.isna(row[name])}
        if row["n"] != n:
            flat[f"{key}.n"] = int(row["n"])
    return flat
