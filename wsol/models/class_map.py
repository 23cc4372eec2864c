"""The join of a data set's classes with the outputs of a network, by WordNet id or by name."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsol.models.class_lists import ClassList, normalize, shorten

RankAmong = Literal["dataset", "all"]


@dataclass(frozen=True)
class ClassMap:
    """Which output of a network is which class of a data set.

    Attributes:
        outputs: The output of each label.
        count: Number of outputs of the network.
        rank_among: Whether predictions are ranked among the outputs of the data set's classes, or among all.
    """

    outputs: tuple[int, ...]
    count: int
    rank_among: RankAmong = "dataset"

    @property
    def suffix(self) -> str:
        """The entry in the signature: ``+classes=mapped(200/1000):1a2b3c4d``, with a hash of ``outputs``."""
        digest = hashlib.sha256(np.array(self.outputs, "<i8").tobytes()).hexdigest()[:8]
        among = "" if self.rank_among == "dataset" else f",{self.rank_among}"
        return f"+classes=mapped({len(self.outputs)}/{self.count}{among}):{digest}"

    def labels(self) -> list[int]:
        """Return the class id of each output: its label, or for one that is no class, ``len(outputs)`` + its index."""
        ids = [len(self.outputs) + output for output in range(self.count)]
        for label, output in enumerate(self.outputs):
            ids[output] = label
        return ids


def join_classes(outputs: ClassList, classes: ClassList) -> tuple[int, ...]:
    """Find the output of each class of a data set.

    Where the class and any output have a WordNet id, the id decides. Otherwise the name does, in any case: first with
    all its synonyms, if there are several, then the first synonym alone, which must be unique on both sides.

    Args:
        outputs: What the outputs of the network are.
        classes: The classes of the data set.

    Raises:
        ValueError: A class is not among the outputs, or its name is that of several; a phrase about the data set.
    """
    found = tuple(_find_output(outputs, classes, label) for label in range(len(classes.names)))
    first: dict[int, int] = {}
    for label, output in enumerate(found):
        if first.setdefault(output, label) != label:
            raise ValueError(
                f"its classes {classes.show(first[output])} and {classes.show(label)} are both output {output}"
            )
    return found


def _find_output(outputs: ClassList, classes: ClassList, label: int) -> int:
    synset, name = classes.synsets[label], classes.names[label]
    if synset and outputs.by_synset:
        places = outputs.by_synset.get(synset, [])
        unique = True
    else:
        places, whole, short = [], normalize(name), shorten(name)
        if whole != short and len(classes.by_name[whole]) == 1:
            places = outputs.by_name.get(whole, [])
        unique = len(places) == 1 or (len(classes.by_short_name.get(short, [])) < 2 and short not in outputs.twice)
        places = places if len(places) == 1 else outputs.by_short_name.get(short, [])
    if not places:
        raise ValueError(f"its class {classes.show(label)}, label {label}, is not among them")
    if len(places) > 1 or not unique:
        raise ValueError(
            f"its class {classes.show(label)}, label {label}, has a name that several classes have, so that only a "
            "WordNet id such as n01440764 tells them apart"
        )
    return places[0]
