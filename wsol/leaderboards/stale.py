"""Comparison of a leaderboard on disk with the runs that it was built from."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from wsol.leaderboards.rows import COSTS, Row, read_cells, to_csv

_MEASURED_AGAIN = (
    "; each evaluation measures its cost, so if the run was evaluated again, build the leaderboard again, without "
    "--validate"
)
_KEY_COLUMNS = ("group", "run", "source", "quoted_by", "model", "method", "protocol")


def find_stale(
    folder: Path,
    rows: Sequence[Row],
    excluded: Collection[str],
    renderers: Mapping[str, Callable[[Sequence[Row]], str]],
) -> list[str]:
    """Compare the files of a leaderboard with the current rows; return one sentence per difference.

    New rows are not a difference: the check is that everything on disk follows from the runs.

    Args:
        folder: Folder of ``leaderboard.csv``, if there is one.
        rows: The current rows.
        excluded: Runs that failed another check; their rows are not compared.
        renderers: Functions from rows to the text of each further file, by file name.
    """
    path = folder / "leaderboard.csv"
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            written = read_cells(file.read())
    except ValueError as error:
        return [f"{path} is not a leaderboard ({error}); remove it"]
    current = {_row_key(cells): (cells, row) for cells, row in zip(read_cells(to_csv(rows)), rows, strict=True)}
    matched: dict[tuple[str, ...], Row] = {}
    if any(cells.get("kind") == "published" for cells in written) and all(row["kind"] == "measured" for row in rows):
        return [f"{path} contains published numbers; give --with-published, or --all-published, to check them too"]
    faults = []
    for line, cells in enumerate(written, 2):
        if cells.get("run") in excluded:
            continue
        key = _row_key(cells)
        name = cells.get("run") or " ".join(filter(None, (cells.get(part) for part in ("source", "model", "method"))))
        if key not in current:
            faults.append(f"{path}, line {line}: no run or published number matches the row of {name or 'nothing'}")
        elif key in matched:
            faults.append(f"{path}, line {line}: the row of {name} occurs twice")
        else:
            expected, matched[key] = current[key]
            columns = dict.fromkeys([*expected, *cells])
            differing = [column for column in columns if cells.get(column, "") != expected.get(column, "")]
            faults += [
                f"{path}, line {line}: {column} of {name} is {cells.get(column) or 'empty'}, "
                f"but should be {expected.get(column) or 'empty'}"
                for column in differing
            ]
            if differing and {*differing} <= {*COSTS}:
                faults[-1] += _MEASURED_AGAIN
    if faults or excluded:
        return faults
    written_rows = [row for key, (_, row) in current.items() if key in matched]
    return [
        f"{folder / name} does not match leaderboard.csv; delete it and build the leaderboard again"
        for name, render in renderers.items()
        if (folder / name).is_file() and (folder / name).read_bytes() != render(written_rows).encode()
    ]


def _row_key(cells: Mapping[str, str]) -> tuple[str, ...]:
    """Return the key of a row: the folder of a run, all descriptive columns of a published row."""
    run = cells.get("run", "")
    return ("run", run) if run else tuple(cells.get(column, "") for column in _KEY_COLUMNS)
