"""Prompts for a data set, from the options of a command."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.text import read_lines
from wsol.models.imagenet import imagenet_synsets
from wsol.models.prompts import DEFAULT_TEMPLATES, TEMPLATES, Prompts

CLIP_NAMES = "clip"
"""Name of the built-in list of class names, in place of a file."""


def find_prompts(
    classes: Sequence[str],
    synsets: Sequence[str] = (),
    class_names: str | Path | None = None,
    templates: str | Path | None = None,
) -> Prompts | None:
    """Return the prompts for the classes of a data set.

    Args:
        classes: Class names in label order, as the data set has them; empty if there is no data set, so that those of
            ``class_names`` are the classes.
        synsets: Their WordNet ids; empty where they are unknown.
        class_names: Text file with one name a line, in label order, in place of the data set's own; or ``clip`` for the
            names that the authors of CLIP chose for ImageNet's classes, which the package open_clip contains.
        templates: A name in ``TEMPLATES``, or a text file with one template a line; None for CLIP's 80.

    Returns:
        The prompts; None if there are no classes at all.

    Raises:
        InputError: A file is unreadable, or does not fit.
    """
    names: tuple[str, ...] = ()
    if str(class_names) == CLIP_NAMES:
        names = _find_clip_names(synsets if classes else imagenet_synsets())
    elif class_names is not None:
        names = _read(Path(class_names), "one class name a line", f", or {CLIP_NAMES}")
        if classes and len(names) != len(classes):
            raise InputError(
                f"{printable(class_names)} has {len(names)} names, but the data set has {len(classes)} classes; write "
                "one name a line, in label order"
            )
    chosen = TEMPLATES.get(str(templates or DEFAULT_TEMPLATES))
    if chosen is None:
        chosen = _read(Path(str(templates)), "one template a line", f", or {' or '.join(TEMPLATES)}")
    return Prompts(tuple(classes) or names, names, chosen) if classes or names else None


def _find_clip_names(synsets: Sequence[str]) -> tuple[str, ...]:
    places = {synset: i for i, synset in enumerate(imagenet_synsets())}
    if not synsets or not places.keys() >= set(synsets):
        raise InputError(
            f"--class-names {CLIP_NAMES} names ImageNet's 1,000 classes, and the data set has others, or does not say; "
            "give a file with one class name a line"
        )
    try:
        names = importlib.import_module("open_clip").IMAGENET_CLASSNAMES
    except ImportError as error:
        raise InputError(f"--class-names {CLIP_NAMES} needs the package open_clip; pip install 'wsol[clip]'") from error
    return tuple(names[places[synset]] for synset in synsets)


def _read(path: Path, content: str, others: str) -> tuple[str, ...]:
    if not path.is_file():
        raise InputError(f"{printable(path)} is no file; give a text file with {content}{others}")
    lines = tuple(line.strip() for line in read_lines(path, content))
    while lines and not lines[-1]:
        lines = lines[:-1]
    if not lines:
        raise InputError(f"{printable(path)} is empty; write {content}")
    if not all(lines):
        raise InputError(f"{printable(path)}, line {lines.index('') + 1}: the line is empty; write {content}")
    return lines
