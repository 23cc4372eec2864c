"""Classes that a file gives by index or by name, as class indices of the data set."""

import re
from collections import defaultdict
from collections.abc import Mapping

from wsol.datasets import Dataset
from wsol.errors import InputError

MAX_DIGITS = 9
"""Most digits of a class index; more do not fit into 32 bits."""

_INDEX = re.compile(rf"([0-9]{{1,{MAX_DIGITS}}})(?:\.0*)?")  # some programs write 3.0


def index_classes(places: Mapping[str, str], dataset: Dataset, where: str, column: str, remedy: str) -> dict[str, int]:
    """Return the class index of every text in a column: all are indices, or all are names.

    Args:
        places: The texts with the first place of each, such as ``line 3``.
        dataset: The data set, which has the names.
        where: The file, for messages.
        column: Name of the column, for messages.
        remedy: What to do if a number is both an index and a name, for messages.

    Raises:
        InputError: A text is neither, some are indices and others names, or both readings are possible and differ.
    """
    named: defaultdict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(dataset.classes):
        named[name].append(label)
    numbers = {text: int(match[1]) for text in places if (match := _INDEX.fullmatch(text))}
    names = {text: named.get(text) or named.get(str(numbers.get(text, text)), []) for text in places}
    indices = {text: number for text, number in numbers.items() if is_class_index(number, dataset)}
    for text, place in places.items():
        if text not in indices and not names[text]:
            raise InputError(
                f"{where}, {place}: {text!r:.80} is no class of {dataset.name}, which has {len(dataset.classes)}; "
                "fix the field"
            )
    if len(indices) < len(places) and all(names.values()):
        for text, labels in names.items():
            if len(labels) > 1:
                raise InputError(
                    f"{where}, {places[text]}: {text!r:.80} is the name of the classes "
                    f"{' and '.join(map(str, labels))} of {dataset.name}; give class indices as {column}"
                )
        return {text: label for text, (label,) in names.items()}
    for text, index in indices.items():
        if names[text] not in ([], [index]):
            raise InputError(
                f"{where}, {places[text]}: {text!r:.80} is the index of one class of {dataset.name} and the name of "
                f"another (class {names[text][0]}); {remedy}"
            )
    if len(indices) < len(places):
        name, number = next(text for text in places if text not in indices), next(iter(indices))
        raise InputError(
            f"{where}: the column {column} has names, such as {name!r:.80} in {places[name]}, and indices, such as "
            f"{number!r:.80} in {places[number]}; give one or the other"
        )
    return indices


def is_class_index(number: int, dataset: Dataset) -> bool:
    """Return whether a class may have this index; lists without class names may lack the last classes."""
    if number < len(dataset.classes):
        return number >= 0
    return all(name == str(label) for label, name in enumerate(dataset.classes))
