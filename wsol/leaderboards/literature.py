"""Numbers from the literature, as ``results/published`` keeps them."""

from dataclasses import dataclass, fields
from pathlib import Path

from wsol.errors import InputError
from wsol.io.text import parse_int, parse_number, read_csv
from wsol.metrics.base import METRICS, TAU_RULES


@dataclass(frozen=True)
class Published:
    """One number that somebody published; empty where the source does not say.

    Attributes:
        source: Authors, title, venue and year, as a footnote names it.
        year: Of publication.
        place: Table of the source.
        dataset: Registered name, or another where no adapter has it.
        split: As in ``wsol``: the official validation set of ILSVRC is ``test``.
        n: Number of images.
        model: As the source spells it.
        method: Registered name, or the source's in small letters; empty where the number does not depend on it.
        metric: Registered name.
        tau_rule: ``fixed``, ``val``, ``oracle``, or empty where no threshold enters or the rule is not known.
        tau: The threshold, where it is known.
        protocol: Name, and the settings that are known: ``zhou2016:crops=10``.
        value: Percent.
        note: What else is to be known of it.
    """

    source: str
    year: int
    place: str
    dataset: str
    split: str
    n: int
    model: str
    method: str
    metric: str
    tau_rule: str
    tau: float | None
    protocol: str
    value: float
    note: str


def read_published(folder: str | Path) -> list[Published]:
    """Read all tables of a folder.

    Args:
        folder: Holds CSV files with the attributes of ``Published`` as columns.

    Raises:
        InputError: There is none, or a line cannot be read.
    """
    paths = sorted(Path(folder).glob("*.csv"))
    if not paths:
        raise InputError(
            f"{folder} holds no published tables (*.csv); give the folder results/published of the project"
        )
    return [entry for path in paths for entry in _read(path)]


def _read(path: Path) -> list[Published]:
    columns, rows = read_csv(path, "published numbers")
    wanted = [field.name for field in fields(Published)]
    if missing := [name for name in wanted if name not in columns]:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; its header should be {','.join(wanted)}")
    return [_entry({name: row[name] for name in wanted}, path, f"line {line}") for line, row in rows]


def _entry(row: dict[str, str], path: Path, where: str) -> Published:
    if row["metric"] not in METRICS.names():
        raise InputError(f"{path}, {where}: {row['metric']!r} is no metric; see python -m wsol.list metrics")
    if row["tau_rule"] not in ("", *TAU_RULES):
        raise InputError(
            f"{path}, {where}: {row['tau_rule']!r} is no threshold rule; give {', '.join(TAU_RULES)} or none"
        )
    value = parse_number(row["value"], path, where)
    if not 0 <= value <= 100:
        raise InputError(f"{path}, {where}: {row['value']} is no percentage; give 0 to 100")
    numbers = {
        "year": parse_int(row["year"], path, where),
        "n": parse_int(row["n"], path, where),
        "tau": parse_number(row["tau"], path, where) if row["tau"] else None,
        "value": value,
    }
    return Published(**{**row, **numbers})  # type: ignore[arg-type]  # by name
