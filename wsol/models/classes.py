"""The check that the outputs of a network are the classes of a data set."""

from collections.abc import Sequence
from itertools import zip_longest

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.models.base import Model


def check_classes(model: Model, images: Dataset, assume_order: bool) -> str | None:
    """Check that label ``i`` of a data set is output ``i`` of a network, as far as number and names of classes tell.

    Args:
        model: The network; one that does not classify fits every data set.
        images: The data set.
        assume_order: Whether the user says so, although number or names of the classes differ.

    Returns:
        What had to be assumed, one sentence for the notes of a run; None if the classes do not differ.

    Raises:
        InputError: It is wrong, or the classes differ and ``assume_order`` is false.
    """
    if not model.classes:
        return None
    outputs = model.class_names or model.categories
    if moved := find_moved(outputs, images.classes):
        output, label = moved
        raise InputError(
            f"the outputs of {model.name} are in another order than the classes of {images.name}: "
            f"{_quote(outputs, output)} is output {output} of {model.weights}, but label {label} of {images.name}; "
            "give weights that were trained on these classes in this order"
        )
    highest = max(sample.label for sample in images)
    fault = _find_difference(model, images)
    if fault and not assume_order:
        raise InputError(
            f"{fault}; give weights that were trained on these classes, or --assume-class-order if label i of the data "
            "set is output i of the network"
        )
    if highest >= model.classes:
        raise InputError(
            f"{images.name} has the label {highest} ({printable(images.classes[highest])}), for which {model.name} "
            f"with its {model.classes} classes has no output; leave out --assume-class-order and give weights that "
            "were trained on these classes"
        )
    return f"{fault}: label i is taken as output i, as --assume-class-order says" if fault else None


def find_moved(outputs: Sequence[str], classes: Sequence[str]) -> tuple[int, int] | None:
    """Find a class that has one number among the outputs of a network and another in a data set.

    Names are compared by their first synonym, in any case: ``tench`` is ``Tench, Tinca tinca``. Those that occur
    several times in one list prove nothing.

    Args:
        outputs: Names of the outputs, in order; empty if they are unknown.
        classes: Names of the classes, in label order.

    Returns:
        Its number among the outputs and its label; None if there is no such class.
    """
    if not (outputs and classes):
        return None
    places, labels = _unique_names(outputs), _unique_names(classes)
    return next(((i, labels[name]) for name, i in places.items() if labels.get(name, i) != i), None)


def _find_difference(model: Model, images: Dataset) -> str | None:
    """Return in what the classes of a network differ from those of a data set, a phrase; None if in nothing known."""
    count, names = len(images.classes), model.class_names
    if count != model.classes:
        return f"{model.name} has {model.classes} classes, but {images.name} has {count}"
    if names and names != images.classes:
        i = next(i for i, (a, b) in enumerate(zip_longest(names, images.classes)) if a != b)
        return (
            f"{model.weights} was trained on other classes than those of {images.name}: class {i} is "
            f"{_quote(names, i)}, not {_quote(images.classes, i)}"
        )
    return None


def _unique_names(names: Sequence[str]) -> dict[str, int]:
    """Return the place of each name that occurs once."""
    places: dict[str, int] = {}
    short = [name.split(",")[0].replace("_", " ").strip().casefold() for name in names]
    for i, name in enumerate(short):
        places[name] = -1 if name in places else i
    return {name: i for name, i in places.items() if i >= 0}


def _quote(names: Sequence[str], i: int) -> str:
    return quote(names[i]) if i < len(names) else "none"
