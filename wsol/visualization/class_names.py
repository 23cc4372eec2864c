"""Names of a network's classes, and classes given by name or number."""

import difflib
from collections.abc import Sequence

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.models import Model
from wsol.models.classes import find_moved

_MAX_DIGITS = 9  # of a class number


def class_names(model: Model, dataset_classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a network's classes in order; empty if they are unknown.

    They are those in a weights file of ``wsol.train``, those of a data set with as many classes (unless its order is
    another), or those that the authors of published weights give.
    """
    moved = find_moved(model.categories, dataset_classes)
    sources = (model.class_names, () if moved else dataset_classes, model.categories)
    return next((names for names in sources if names and len(names) == model.classes), ())


def find_class(given: str | int, model: Model, names: Sequence[str]) -> int:
    """Return the number of a class.

    Args:
        given: Its number, from 0; or its name, or one of several synonyms separated by commas, in upper or lower case.
            ``number:1`` and ``name:1`` say which of the two it is.
        model: The network.
        names: Names of its classes; empty if they are unknown.

    Raises:
        InputError: There is no such class, or several.
    """
    kind, _, rest = str(given).partition(":")
    text = rest if kind in ("number", "name") else str(given)
    by_name = [] if kind == "number" or isinstance(given, int) else _find_by_name(text, names)
    is_number = kind != "name" and text.isdecimal() and len(text) < _MAX_DIGITS and int(text) < model.classes
    by_number = [int(text)] if is_number else []
    found = [*dict.fromkeys(by_name + by_number)]
    if len(found) == 1:
        return found[0]
    if len(by_name) > 1:
        raise InputError(
            f"{model.name} has several classes called {text!r:.80}, with the numbers "
            f"{', '.join(map(str, by_name))}; give number:{by_name[0]} or another"
        )
    if found:
        other = printable(names[found[1]], 80)
        raise InputError(
            f"{model.name}: {text} is the name of class {found[0]} and the number of {other!r}; give name:{text} or "
            f"number:{text}"
        )
    if not names:
        raise InputError(
            f"{model.name}: these weights have no class names, so {text!r:.80} cannot be found; give a number from 0 "
            f"to {model.classes - 1}, or the data set that they were trained on"
        )
    similar = difflib.get_close_matches(text.lower(), [name.lower() for name in names], n=3)
    hint = f"did you mean {' or '.join(map(printable, similar))}?" if similar else "give another name"
    raise InputError(f"{model.name} has no class {text!r:.80}; {hint} (or a number from 0 to {model.classes - 1})")


def _find_by_name(text: str, names: Sequence[str]) -> list[int]:
    """Return the classes with exactly this name; if there is none, those with this name or synonym in any case."""
    exact = [i for i, name in enumerate(names) if name == text]
    wanted = text.casefold()
    return exact or [
        i
        for i, name in enumerate(names)
        if wanted in (name.casefold(), *(part.strip() for part in name.casefold().split(",")))
    ]
