"""Published numbers beside the measured ones, with what they do not have in common."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsol.leaderboards.literature import Published
from wsol.leaderboards.rows import Row, column

_LISTS = "metadata"  # the lists of Choe et al. do not say which data set they are of


def published_rows(entries: Iterable[Published], measured: Iterable[Row]) -> list[Row]:
    """Lay published numbers out for every group of measured ones on the same data set and split.

    Args:
        entries: The numbers; one that does not depend on the method joins the rows of its network.
        measured: Rows of runs.

    Returns:
        One row a source, network, method and group: in the groups of its protocol, or, where no run follows that, in
        all groups of its images. ``mismatch`` names the conventions in which it differs from the group; only where that
        is empty do the numbers compare.
    """
    groups = dict.fromkeys((row["dataset"], row["protocol"]) for row in measured)
    rows = []
    for row in _merged(entries):
        near = {group: found for group in groups if (found := _differences(row, *group)) is not None}
        followed = {group: found for group, found in near.items() if _name(group[1]) == _name(row["protocol"])}
        for (dataset, protocol), differences in (followed or near).items():
            rows.append(row | {"group": f"{dataset}|{protocol}", "mismatch": "; ".join(differences)})
    return rows


def _merged(entries: Iterable[Published]) -> list[Row]:
    """Put the numbers of one network, method and protocol into one row."""
    networks: dict[tuple[object, ...], list[Published]] = {}
    for entry in entries:
        key = (entry.source, entry.dataset, entry.split, entry.n, entry.model)
        networks.setdefault(key, []).append(entry)
    rows = []
    for own in networks.values():
        common = [entry for entry in own if not entry.method]
        kinds = dict.fromkeys((entry.method, entry.protocol) for entry in own if entry.method)
        for kind in kinds or {("", common[0].protocol): None}:
            rows.append(
                _row(common + [entry for entry in own if entry.method and (entry.method, entry.protocol) == kind])
            )
    return rows


def _row(entries: Sequence[Published]) -> Row:
    last = entries[-1]
    row: Row = {"kind": "published", "dataset": f"{last.dataset}-{last.split}#{last.n}", "n": last.n}
    row |= {"model": last.model, "method": last.method, "protocol": last.protocol, "source": last.source}
    row["place"] = ", ".join(dict.fromkeys(entry.place for entry in entries if entry.place))
    row["note"] = "; ".join(dict.fromkeys(entry.note for entry in entries if entry.note))
    for entry in entries:
        key = column(entry.metric, entry.tau_rule)
        row[key] = entry.value
        if entry.tau is not None:
            row[f"{key}.tau"] = entry.tau
    return row


@dataclass(frozen=True)
class _Images:
    """The first station of a signature."""

    name: str
    origin: str
    n: int

    @classmethod
    def parse(cls, station: str) -> "_Images":
        match = re.fullmatch(r"(.*-(?:train|val|test|hidden))(?:\((.*)\))?#(\d+)(?::.*)?", station, re.DOTALL)
        return cls(match[1], match[2] or "", int(match[3])) if match else cls(station, "", 0)


def _differences(row: Row, dataset: str, protocol: str) -> list[str] | None:
    """Return in what conventions a published row differs from a group; None where it is of other images altogether."""
    own, theirs = _Images.parse(row["dataset"]), _Images.parse(dataset)
    differences = []
    if own.name != theirs.name:
        split = own.name.rpartition("-")[2]
        if theirs.name != f"{_LISTS}-{split}" or own.n != theirs.n:
            return None
        differences.append(f"data set: {own.name}, which these lists are taken for by their {own.n} images")
    if own.n != theirs.n or theirs.origin:
        differences.append(f"images: {own.n}, not {theirs.n}" + f" of {theirs.origin}" * bool(theirs.origin))
    named, given = _settings(row["protocol"]), _settings(protocol)
    if named != {key: given.get(key) for key in named}:
        differences.append(f"protocol: {row['protocol']}, not {protocol}")
    return differences


def _name(protocol: str) -> str:
    return protocol.partition(":")[0]


def _settings(protocol: str) -> dict[str, str]:
    """Return a protocol's name and the settings that are given."""
    name, _, rest = protocol.partition(":")
    return {"": name} | {key: value for key, _, value in (pair.partition("=") for pair in rest.split(",") if pair)}
