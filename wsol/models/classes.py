"""The relation of the outputs of a network to the classes of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.models.base import Model
from wsol.models.class_lists import ClassList, imagenet_list, make_class_list, read_class_list, shorten
from wsol.models.class_map import ClassMap, RankAmong, join_classes
from wsol.models.imagenet import is_imagenet, is_published_imagenet

_NAMES = "--classes FILE with the names of the network's outputs"
_ORDER = "--assume-class-order if label i of the data set is output i of the network"


@dataclass(frozen=True)
class Agreement:
    """The relation of the outputs of a network to the classes of a data set.

    Attributes:
        map: The output of each label; None if label ``i`` is output ``i``.
        assumed: Whether this had to be assumed, although number or names of the classes differ.
        note: What deserves a second look, one sentence for the notes of a run; None if the classes do not differ.
    """

    map: ClassMap | None = None
    assumed: bool = False
    note: str | None = None

    @property
    def suffix(self) -> str:
        """The entry in the signature; empty if the classes do not differ."""
        return "+assume-class-order" if self.assumed else self.map.suffix if self.map else ""


def check_classes(
    model: Model,
    images: Dataset,
    assume_order: bool = False,
    names: str | Path | None = None,
    rank_among: RankAmong = "dataset",
) -> Agreement:
    """Find the output of a network for each class of a data set, as far as number and names of classes tell.

    Label ``i`` is output ``i`` if the numbers of classes are equal and no name says otherwise. Else the classes are
    joined by WordNet id or by name.

    Args:
        model: The network; one that does not classify fits every data set.
        images: The data set.
        assume_order: Whether the user says that label ``i`` is output ``i``, although number or names differ.
        names: File with the names of the outputs, or ``imagenet``; None for those that the weights have.
        rank_among: Outputs among which predictions are ranked where classes are joined.

    Raises:
        InputError: A class has no output, or it is unknown which one; or ``assume_order`` is proven wrong.
    """
    if not model.classes:
        if names is not None:
            raise InputError(f"{model.name} does not classify, so that it has no classes to name; leave out --classes")
        return Agreement()
    if assume_order:
        return _assume_order(model, images)
    given = None if names is None else _read_names(names, model)
    outputs = given or _known_outputs(model)
    classes = make_class_list(images.classes, images.synsets)
    difference = _find_difference(model, images)
    same_count = len(images.classes) == model.classes
    has_moved = find_moved(_written_names(model), images.classes) is not None
    if same_count and not given and not has_moved and not _has_moved_synset(outputs, classes):
        if difference:
            raise InputError(f"{difference}; give weights that were trained on these classes, {_NAMES}, or {_ORDER}")
        return Agreement()
    if outputs is None or (not given and _are_numbers(images.classes) and not images.synsets):
        raise InputError(f"{difference}; give weights that were trained on these classes, {_NAMES}, or {_ORDER}")
    try:
        found = join_classes(outputs, classes)
    except ValueError as error:
        if same_count and not given and not has_moved and not is_published_imagenet(model):
            return Agreement()  # only the package says that these are ImageNet's classes, and the names do not
        begin = f"the outputs of {model.name} have other names than the classes of {images.name}"
        if not same_count:
            begin = f"{model.name} has {model.classes} classes, but {images.name} has {len(images.classes)}"
        raise InputError(
            f"{begin}, and {error}; give weights that were trained on these classes, {_NAMES}, or {_ORDER}"
        ) from error
    if found == tuple(range(model.classes)):
        return Agreement()
    class_map = ClassMap(found, model.classes, rank_among)
    return Agreement(class_map, note=_describe(class_map, model, images, outputs, classes, given is not None))


def _assume_order(model: Model, images: Dataset) -> Agreement:
    """Take label ``i`` as output ``i``, unless the names of the weights prove it wrong."""
    outputs = _written_names(model)
    if moved := find_moved(outputs, images.classes):
        output, label = moved
        raise InputError(
            f"the outputs of {model.name} are in another order than the classes of {images.name}: "
            f"{_quote(outputs, output)} is output {output} of {model.weights}, but label {label} of {images.name}; "
            "leave out --assume-class-order, so that they are joined by name"
        )
    highest = max(sample.label for sample in images)
    fault = _find_difference(model, images)
    if highest >= model.classes:
        raise InputError(
            f"{images.name} has the label {highest} ({printable(images.classes[highest])}), for which {model.name} "
            f"with its {model.classes} classes has no output; leave out --assume-class-order and give weights that "
            "were trained on these classes"
        )
    if fault is None:
        return Agreement()
    return Agreement(None, True, f"{fault}: label i is taken as output i, as --assume-class-order says")


def _read_names(names: str | Path, model: Model) -> ClassList:
    """Read the names of the outputs; refuse those that contradict the weights."""
    given, written = read_class_list(names, model.classes), _written_names(model)
    if moved := find_moved(given.names, written):
        output, actual = moved
        raise InputError(
            f"{printable(str(names))} says that {given.show(output)} is output {output}, but {model.weights} has it as "
            f"output {actual}; fix the file or leave it out"
        )
    return given


def _known_outputs(model: Model) -> ClassList | None:
    """Return what the outputs are, as the weights or their package say; None if they are unknown."""
    if is_imagenet(model):
        return imagenet_list()
    written = _written_names(model)
    return make_class_list(written, outputs=True) if written and not _are_numbers(written) else None


def _written_names(model: Model) -> tuple[str, ...]:
    return model.class_names or model.categories


def _are_numbers(names: Sequence[str]) -> bool:
    """Return whether these are no names but the numbers of the classes."""
    return all(name == str(i) for i, name in enumerate(names))


def _has_moved_synset(outputs: ClassList | None, classes: ClassList) -> bool:
    """Return whether the WordNet id of a class is that of an output with another number."""
    known = outputs.by_synset if outputs else {}
    return any(known.get(synset, [label]) != [label] for label, synset in enumerate(classes.synsets) if synset)


def _describe(
    class_map: ClassMap, model: Model, images: Dataset, outputs: ClassList, classes: ClassList, given: bool
) -> str:
    """Return the note of a run whose classes are joined."""
    count = len(class_map.outputs)
    key = "WordNet id" if outputs.by_synset and classes.by_synset else "name"
    note = f"the {count} classes of {images.name} are outputs of {model.name} by {key}"
    if not given and is_imagenet(model) and not is_published_imagenet(model):
        note += f" (its {class_map.count} outputs are taken as ImageNet's classes, as in all of {model.library})"
    if class_map.rank_among == "dataset":
        return f"{note}; predictions are among these"
    return f"{note}; predictions are among all {class_map.count} outputs: class {count} + i is any other output i"


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
    for i, name in enumerate(map(shorten, names)):
        places[name] = -1 if name in places else i
    return {name: i for name, i in places.items() if i >= 0}


def _quote(names: Sequence[str], i: int) -> str:
    return quote(names[i]) if i < len(names) else "none"
