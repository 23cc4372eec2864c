"""Whether a leaderboard that was written before still says what the runs say."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from wsol.leaderboards.rows import Row, read_cells, to_csv

_IDENTITY = ("group", "run", "source", "model", "method", "protocol")


def find_stale(
    folder: Path,
    rows: Sequence[Row],
    refused: Collection[str],
    renderings: Mapping[str, Callable[[Sequence[Row]], str]],
) -> list[str]:
    """Hold the files of a leaderboard against the rows as they are now and says what differs, a sentence each.

    Rows that were added since are no difference; what was written is to follow from the runs.

    Args:
        folder: Where ``leaderboard.csv`` lies, if there is one.
        rows: As they are now.
        refused: Runs that are named already, whose rows are not looked at.
        renderings: What makes of rows the text of each further file, by its name.
    """
    path = folder / "leaderboard.csv"
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            standing = read_cells(file.read())
    except ValueError as error:
        return [f"{path} is no leaderboard ({error}); remove it"]
    now = {_identity(cells): (cells, row) for cells, row in zip(read_cells(to_csv(rows)), rows, strict=True)}
    kept: dict[tuple[str, ...], Row] = {}
    if any(cells.get("kind") == "published" for cells in standing) and all(row["kind"] == "measured" for row in rows):
        return [f"{path} holds published numbers; give --with-published, so that they are looked at too"]
    wrong = []
    for line, cells in enumerate(standing, 2):
        if cells.get("run") in refused:
            continue
        key = _identity(cells)
        name = cells.get("run") or " ".join(filter(None, (cells.get(part) for part in ("source", "model", "method"))))
        if key not in now:
            wrong.append(f"{path}, line {line}: no run or published number gives the row of {name or 'nothing'}")
        elif key in kept:
            wrong.append(f"{path}, line {line}: the row of {name} is there twice")
        else:
            follows, kept[key] = now[key]
            wrong += [
                f"{path}, line {line}: {column} of {name} is {cells.get(column) or 'empty'}, "
                f"and comes out as {follows.get(column) or 'empty'}"
                for column in dict.fromkeys([*follows, *cells])
                if cells.get(column, "") != follows.get(column, "")
            ]
    if wrong or refused:
        return wrong
    left = [row for key, (_, row) in now.items() if key in kept]
    return [
        f"{folder / name} does not say what leaderboard.csv says; write it anew"
        for name, render in renderings.items()
        if (folder / name).is_file() and (folder / name).read_bytes() != render(left).encode()
    ]


def _identity(cells: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a row is known by: a run by its folder, a published row by all that names it."""
    run = cells.get("run", "")
    return ("run", run) if run else tuple(cells.get(part, "") for part in _IDENTITY)
