"""Lists of classes by WordNet id and by name, and files that hold one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.text import read_lines
from wsol.models.imagenet import COUNT, TWICE, imagenet_names, imagenet_synsets

IMAGENET = "imagenet"
"""Name of the built-in list, in place of a file."""

_SYNSET = re.compile(r"(n\d{8})(?:[\s,_-]+(.*))?")
_INDEXED = re.compile(r"\s*(\d{1,9})\s*,(.*)")


@dataclass(frozen=True)
class ClassList:
    """Classes in the order of labels or outputs.

    Attributes:
        synsets: WordNet id of each; empty where it is unknown.
        names: Name of each, which may be several synonyms separated by commas; empty where it is unknown.
        twice: Short names that stand for two classes although they occur once in this list.
    """

    synsets: tuple[str, ...]
    names: tuple[str, ...]
    twice: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def by_synset(self) -> dict[str, list[int]]:
        """Places of each WordNet id."""
        return _places(self.synsets)

    @cached_property
    def by_name(self) -> dict[str, list[int]]:
        """Places of each name as a whole, all synonyms included."""
        return _places([normalize(name) for name in self.names])

    @cached_property
    def by_short_name(self) -> dict[str, list[int]]:
        """Places of each first synonym."""
        return _places([shorten(name) for name in self.names])

    def show(self, i: int) -> str:
        """Return a class in quotes for a message, by id and name as far as they are known."""
        name = self.names[i] if i < len(self.names) else ""
        synset = self.synsets[i] if i < len(self.synsets) else ""
        return quote(name or synset) + (f" ({synset})" if name and synset else "")


def make_class_list(names: Sequence[str], synsets: Sequence[str] = (), outputs: bool = False) -> ClassList:
    """Return a list of classes; a WordNet id at the begin of a name counts as the class's, if ``synsets`` is empty.

    Args:
        names: A name of each, such as ``tench, Tinca tinca``, ``n01440764`` or ``n01440764 tench``.
        synsets: The WordNet id of each, if the ids are known otherwise.
        outputs: Whether these are outputs of a network; 1,000 are then assumed to be ImageNet's with regard to names
            that two of its classes have.
    """
    found = [_SYNSET.fullmatch(name.strip()) for name in names]
    own = tuple(synsets) or tuple(match[1] if match else "" for match in found)
    plain = tuple((match[2] or "") if match else name for match, name in zip(found, names, strict=True))
    return ClassList(own, plain, TWICE if outputs and len(names) == COUNT else frozenset())


def imagenet_list() -> ClassList:
    """Return ImageNet's 1,000 classes in the order of network outputs."""
    return ClassList(imagenet_synsets(), imagenet_names(), TWICE)


def normalize(name: str) -> str:
    """Return a name as it is compared: in lower case, without underscores and needless spaces."""
    return " ".join(name.replace("_", " ").casefold().split())


def shorten(name: str) -> str:
    """Return the first of several synonyms as it is compared."""
    return normalize(name.split(",", maxsplit=1)[0])


def read_class_list(source: str | Path, count: int) -> ClassList:
    """Read the classes of a network's outputs.

    Args:
        source: A text file with one name a line in output order, or with ``index,name`` on each line, where outputs may
            be left out; or ``imagenet`` for the built-in list.
        count: Number of outputs.

    Raises:
        InputError: The file is unreadable, or its lines do not fit the outputs.
    """
    if str(source) == IMAGENET:
        if count != COUNT:
            raise InputError(
                f"--classes imagenet names {COUNT} outputs, but the network has {count}; give a file with their names"
            )
        return imagenet_list()
    path = Path(source)
    if not path.is_file():
        raise InputError(
            f"{printable(path)} is no file; --classes takes a text file with one name a line or index,name on each "
            "line, or imagenet"
        )
    lines = read_lines(path, "one class name a line, or index,name")
    while lines and not lines[-1].strip():
        lines.pop()
    names = [""] * count
    indexed = [_INDEXED.fullmatch(line) for line in lines]
    if not lines:
        raise InputError(f"{printable(path)} is empty; write one class name a line, or index,name")
    if indexed[-1] is None and len(lines) != count:
        raise InputError(
            f"{printable(path)} has {len(lines)} names, but the network has {count} outputs; write one name for each, "
            "or index,name for some"
        )
    for number, (line, match) in enumerate(zip(lines, indexed, strict=True), 1):
        if (match is None) != (indexed[-1] is None):
            raise InputError(
                f"{printable(path)}, line {number}: {quote(line)} is not written as the last line is; write index,name "
                "on every line, or a name alone on every line"
            )
        place, name = (number - 1, line.strip()) if match is None else (int(match[1]), match[2].strip())
        if not name:
            raise InputError(f"{printable(path)}, line {number}: there is no name; write one")
        if place >= count:
            raise InputError(
                f"{printable(path)}, line {number}: there is no output {place}; the network has {count}, counted from 0"
            )
        if names[place]:
            raise InputError(f"{printable(path)}, line {number}: output {place} has a name already; keep one line")
        names[place] = name
    return make_class_list(names, outputs=True)


def _places(values: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        if value:
            places.setdefault(value, []).append(i)
    return places
