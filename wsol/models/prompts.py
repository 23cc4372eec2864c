"""Prompts: the texts that describe the classes to a zero-shot classifier."""

import hashlib
import re
from dataclasses import dataclass, field

from wsol.datasets import readable_names
from wsol.errors import InputError
from wsol.io.display import list_first, quote

_NO_NAME = re.compile(r"n\d{8}|")


def _make_clip80() -> tuple[str, ...]:
    """Return CLIP's templates: kinds of pictures, with one article or another."""
    qualities = (
        *("bad", "low resolution", "cropped", "bright", "dark", "close-up", "black and white", "jpeg corrupted"),
        *("blurry", "good"),
    )
    kinds = ("hard to see", "clean", "dirty", "cool", "nice", "weird", "small", "large")
    depictions = (
        *("a sculpture", "a rendering", "a painting", "a drawing", "a doodle", "a sketch", "a rendition", "a tattoo"),
        *("a pixelated photo", "graffiti", "art", "itap", "a photo"),
    )
    materials = ("plastic", "embroidered", "origami", "toy", "cartoon", "plushie")
    texts = [f"a {quality} photo of {article} {{}}." for quality in qualities for article in ("a", "the")]
    texts += [f"a photo of {article} {kind} {{}}." for kind in kinds for article in ("a", "the")]
    texts += [f"{depiction} of {article} {{}}." for depiction in depictions for article in ("a", "the")]
    texts += [f"{article} {material} {{}}." for material in materials for article in ("a", "the")]
    texts += [f"{article} {{}} in a video game." for article in ("a", "the")]
    return (*texts, "a photo of many {}.", "a photo of one {}.", "a photo of my {}.", "itap of my {}.")


TEMPLATES: dict[str, tuple[str, ...]] = {"clip80": _make_clip80(), "photo": ("a photo of a {}.",)}
"""Templates by name.

``clip80`` are the 80 templates for ImageNet of Radford et al. (CLIP, ICML 2021), as published in the authors' notebook
``Prompt_Engineering_for_ImageNet.ipynb`` of the repository openai/CLIP, in another order, of which their mean does not
depend; "itap" is the start of titles on a photography forum, "I took a picture". ``photo`` is the single template of
the paper.
"""

DEFAULT_TEMPLATES = "clip80"


@dataclass(frozen=True)
class Prompts:
    """The classes of a zero-shot classifier and the texts about them.

    Attributes:
        classes: Class names in label order, as the data set has them.
        names: The same classes as the texts call them; empty for ``wsol.datasets.readable_names`` of ``classes``.
        templates: The texts, with ``{}`` in place of the name.
    """

    classes: tuple[str, ...] = field(repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    templates: tuple[str, ...] = field(default=TEMPLATES[DEFAULT_TEMPLATES], repr=False)

    def __post_init__(self) -> None:
        """Spell the names.

        Raises:
            InputError: The numbers of classes and names differ, or a template has no place for the name.
        """
        if not self.names:
            object.__setattr__(self, "names", readable_names(self.classes))
        if len(self.names) != len(self.classes):
            raise InputError(
                f"there are {len(self.names)} class names for {len(self.classes)} classes; give one name for each"
            )
        if not self.templates:
            raise InputError("there are no templates; give one or more, such as 'a photo of a {}.'")
        for each in self.templates:
            if "{}" not in each or {"{", "}"} & {*each.replace("{}", "", 1)}:
                raise InputError(
                    f"the template {quote(each)} should have {{}} once, where the class name belongs, and no other "
                    "braces"
                )

    @property
    def texts(self) -> list[str]:
        """All texts: those of the first class, in the order of the templates, then those of the second, and so on.

        Raises:
            InputError: The classes have no names, only numbers or WordNet ids.
        """
        nameless = next((name for name in self.names if _NO_NAME.fullmatch(name)), None)
        if nameless is not None or all(name == str(i) for i, name in enumerate(self.names)):
            example = self.names[0] if nameless is None else nameless
            raise InputError(
                f"a class is called {quote(example)}, which is no name that a text could use; give --class-names FILE"
            )
        return [template.replace("{}", name) for name in self.names for template in self.templates]

    @property
    def suffix(self) -> str:
        """Suffix of a model in the signature: a hash of the templates, of the classes, and of what they are called."""
        texts = "\0".join((*self.templates, "", *self.names, "", *self.classes))
        return f"+text:{hashlib.sha256(texts.encode()).hexdigest()[:8]}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks that deserve a second look, one sentence each."""
        count = f"{len(self.templates)} template{'s' if len(self.templates) > 1 else ''}"
        notes = [f"zero-shot classifier of {len(self.names)} classes with {count}, such as {self.texts[0]!r}"]
        twice = [*dict.fromkeys(name for name in self.names if self.names.count(name) > 1)]
        if twice:
            notes.append(
                f"several classes have the same prompts and so the same score ({list_first(twice)}); give "
                "--class-names to call them differently"
            )
        return tuple(notes)
