"""Published numbers: reading their tables, and laying them out next to the measured rows."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from importlib import resources
from pathlib import Path

from wsol.datasets import DATASETS
from wsol.errors import InputError
from wsol.io.text import parse_int, parse_number, read_csv
from wsol.leaderboards.rows import Row, metric_column
from wsol.metrics.base import METRICS, TAU_RULES

_METADATA = "metadata"  # the lists of Choe et al. do not name their data set
_ACCURACIES = {f"top{k}_{task}_acc": f"top{k}_{task}_err" for k in (1, 5) for task in ("loc", "cls")}
"""Metrics that papers print as an accuracy, and the registered error."""
_ASSUMPTION = "data set: assumed"


@dataclass(frozen=True)
class PublishedNumber:
    """One number from a publication; a field is empty if the source does not give it.

    Attributes:
        source: Authors, title, venue and year, as cited in a footnote.
        year: Year of publication.
        place: Table of the source.
        dataset: Registered name, or another name if there is no adapter.
        split: As in ``wsol``: the official validation set of ILSVRC is ``test``.
        n: Number of images.
        model: As spelled by the source.
        method: Registered name, or the source's name in lower case; empty if the number does not depend on the method.
        metric: Registered name.
        tau_rule: ``fixed``, ``val``, ``oracle``, or empty if no threshold is used or the rule is unknown.
        tau: The threshold, if known.
        protocol: Name and known settings, such as ``zhou2016:crops=10``; text that is not the name of a protocol where
            the source has conventions of its own.
        classifier: Where the predicted classes come from: ``own``, or the name of another network; empty if the number
            needs none.
        value: Percent; of an error where the source prints an accuracy.
        quoted_by: The publication that prints this number, if it copied it from ``source``; empty for a number that
            the source itself prints.
        note: Remarks.
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
    classifier: str
    value: float
    quoted_by: str
    note: str


def read_published(folder: str | Path | None = None) -> list[PublishedNumber]:
    """Read all tables of a folder.

    Args:
        folder: Folder of CSV files with the attributes of ``PublishedNumber`` as columns; None for the tables of the
            literature that are bundled with the package. ``top1_loc_acc``, ``top5_loc_acc``, ``top1_cls_acc`` and
            ``top5_cls_acc`` are also metrics there: accuracies as printed, which are converted to errors.

    Raises:
        InputError: The folder has no such file, or a line is invalid.
    """
    if folder is None:
        with resources.as_file(resources.files("wsol.leaderboards") / "literature") as bundled:
            return read_published(bundled)
    paths = sorted(Path(folder).glob("*.csv"))
    if not paths:
        raise InputError(f"{folder} contains no tables of published numbers (*.csv); give a folder that does")
    return [number for path in paths for number in _read_table(path)]


def _read_table(path: Path) -> list[PublishedNumber]:
    required = [field.name for field in fields(PublishedNumber)]
    _, rows = read_csv(path, required)
    return [_parse_row({name: row[name] for name in required}, path, f"line {line}") for line, row in rows]


def _parse_row(row: dict[str, str], path: Path, where: str) -> PublishedNumber:
    metric = _ACCURACIES.get(row["metric"], row["metric"])
    if metric not in METRICS.names():
        raise InputError(f"{path}, {where}: unknown metric {row['metric']!r}; see python -m wsol.list metrics")
    if row["tau_rule"] not in ("", *TAU_RULES):
        raise InputError(
            f"{path}, {where}: unknown threshold rule {row['tau_rule']!r}; "
            f"give {', '.join(TAU_RULES)}, or leave the field empty"
        )
    value = parse_number(row["value"], path, where)
    if not 0 <= value <= 100:
        raise InputError(f"{path}, {where}: {row['value']} is not a percentage; give a number from 0 to 100")
    numbers = {
        "dataset": DATASETS.canonical(row["dataset"]),
        "metric": metric,
        "year": parse_int(row["year"], path, where),
        "n": parse_int(row["n"], path, where),
        "tau": parse_number(row["tau"], path, where) if row["tau"] else None,
        "value": value if metric == row["metric"] else float(100 - Decimal(row["value"])),
    }
    return PublishedNumber(**{**row, **numbers})  # type: ignore[arg-type]  # by name


def build_published_rows(numbers: Iterable[PublishedNumber], measured: Iterable[Row]) -> list[Row]:
    """Build rows of published numbers for every group of measured rows on the same data set and split.

    Args:
        numbers: Published numbers; one that does not depend on the method is added to all rows of its network.
        measured: Rows of runs.

    Returns:
        One row per source, network, method and group: in the groups that it is comparable with, see ``is_comparable``;
        if there are none, in those of its own protocol; or, if no run uses that protocol, in all groups of its data
        set. ``mismatch`` names the conventions in which the row differs from the group.
    """
    groups = dict.fromkeys((row["dataset"], row["protocol"]) for row in measured)
    rows = []
    for row in _merge_numbers(numbers):
        same_images = {group: diffs for group in groups if (diffs := _list_differences(row, *group)) is not None}
        name = _protocol_name(row["protocol"])
        same_protocol = {group: diffs for group, diffs in same_images.items() if _protocol_name(group[1]) == name}
        built = [
            row | {"group": f"{dataset}|{protocol}", "mismatch": "; ".join(differences)}
            for (dataset, protocol), differences in (same_protocol or same_images).items()
        ]
        rows += [each for each in built if is_comparable(each)] or built
    return rows


def is_comparable(row: Row) -> bool:
    """Return whether a published row has the images, protocol and normalization of its group.

    Lists without a name that have as many images as the published data set are assumed to be that data set.
    """
    return not row["mismatch"] or all(each.startswith(_ASSUMPTION) for each in row["mismatch"].split("; "))


def _merge_numbers(numbers: Iterable[PublishedNumber]) -> list[Row]:
    """Merge the numbers of one network, method and protocol into one row."""
    networks: dict[tuple[object, ...], list[PublishedNumber]] = {}
    for number in numbers:
        key = (number.source, number.dataset, number.split, number.n, number.model, number.quoted_by)
        networks.setdefault(key, []).append(number)
    rows = []
    for of_network in networks.values():
        common = [number for number in of_network if not number.method]
        by_method: dict[tuple[str, str], list[PublishedNumber]] = {}
        for number in of_network:
            if number.method:
                by_method.setdefault((number.method, number.protocol), []).append(number)
        rows += [_build_row(common + of_method) for of_method in by_method.values() or [[]]]
    return rows


def _build_row(numbers: Sequence[PublishedNumber]) -> Row:
    last = numbers[-1]
    row: Row = {"kind": "published", "dataset": f"{last.dataset}-{last.split}#{last.n}", "n": last.n}
    row |= {"model": last.model, "method": last.method, "protocol": last.protocol, "source": last.source}
    row["classifier"] = ", ".join(dict.fromkeys(number.classifier for number in numbers if number.classifier))
    row["quoted_by"] = last.quoted_by
    row["place"] = ", ".join(dict.fromkeys(number.place for number in numbers if number.place))
    row["note"] = "; ".join(dict.fromkeys(number.note for number in numbers if number.note))
    for number in numbers:
        column = metric_column(number.metric, number.tau_rule)
        row[column] = number.value
        if number.tau is not None:
            row[f"{column}.tau"] = number.tau
    return row


@dataclass(frozen=True)
class _DatasetField:
    """The data set field of a signature, parsed."""

    name: str
    origin: str
    n: int

    @classmethod
    def parse(cls, text: str) -> "_DatasetField":
        match = re.fullmatch(r"(.*-(?:train|val|test|hidden))(?:\((.*)\))?#(\d+)(?::.*)?", text, re.DOTALL)
        return cls(match[1], match[2] or "", int(match[3])) if match else cls(text, "", 0)


def _list_differences(row: Row, dataset: str, protocol: str) -> list[str] | None:
    """List the conventions in which a published row differs from a group; None if the data sets are different."""
    published, measured = _DatasetField.parse(row["dataset"]), _DatasetField.parse(dataset)
    differences = []
    if published.name != measured.name:
        split = published.name.rpartition("-")[2]
        if measured.name != f"{_METADATA}-{split}" or published.n != measured.n:
            return None
        differences.append(f"{_ASSUMPTION} to be {published.name}, as it also has {published.n} images")
    if published.n != measured.n or measured.origin:
        origin = f" of {measured.origin}" if measured.origin else ""
        differences.append(f"images: {published.n}, not {measured.n}{origin}")
    stated, used = _parse_protocol(row["protocol"]), _parse_protocol(protocol)
    if stated[""] != used[""]:
        return [*differences, f"protocol: {row['protocol']}, not {protocol}"]
    return differences + [
        f"{key}: {value}, not {used.get(key, 'stated')}"
        for key, value in stated.items()
        if not _agree(value, used.get(key))
    ]


def _agree(stated: str, used: str | None) -> bool:
    """Return whether a setting is the stated one, or, where a rule is stated, a value that this rule chose."""
    return used is not None and (used == stated or used.startswith(f"{stated}="))


def _protocol_name(protocol: str) -> str:
    return protocol.partition(":")[0]


def _parse_protocol(protocol: str) -> dict[str, str]:
    """Return the name of a protocol, under an empty key, and its settings."""
    name, _, rest = protocol.partition(":")
    return {"": name} | {key: value for key, _, value in (pair.partition("=") for pair in rest.split(",") if pair)}
