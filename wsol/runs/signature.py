"""The signature: everything that decides a number, in one line."""

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from importlib.metadata import version

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.metrics.tau import Tau
from wsol.protocols import Protocol
from wsol.runs.provenance import Provenance


@dataclass(frozen=True)
class Signature:
    """The fields of a signature, joined by ``|``.

    Attributes:
        dataset: Name, split, number of images, and fingerprints of ids, labels and boxes, of images and of masks.
        model: Name and hash of what made the maps or boxes, and how it ran.
        method: The method.
        protocol: The protocol.
        tau: The rule of the run's threshold, and its value.
        version: ``wsol:`` and the version.
    """

    dataset: str
    model: str
    method: str
    protocol: str
    tau: str
    version: str

    def __str__(self) -> str:
        return "|".join(astuple(self))

    @classmethod
    def parse(cls, text: str) -> "Signature":
        """Parse a signature.

        Raises:
            InputError: It has another number of fields.
        """
        parts = text.split("|")
        if len(parts) != len(fields(cls)):
            raise InputError(f"{text!r:.80} is no signature: it should have {len(fields(cls))} fields joined by |")
        return cls(*parts)


@dataclass(frozen=True)
class RunRequest:
    """Everything that decides the numbers of a split.

    Attributes:
        images: The images, before unreadable ones are left out.
        provenance: Origin of the score maps or boxes.
        protocol: The protocol.
        tau: The threshold, or the rule that chooses it.
        held_out: Signature of the validation images, where tau is chosen on some, and of what was scored on them if it
            has another provenance.
        pseudo: Whether the boxes of the validation images are pseudo boxes.
    """

    images: Dataset
    provenance: Provenance
    protocol: Protocol
    tau: Tau
    held_out: str | None = None
    pseudo: bool = False

    @property
    def uses_threshold(self) -> bool:
        """True if a threshold applies: not to external boxes, and not under a protocol without thresholds."""
        external = self.provenance.external
        return len(self.protocol.taus) > 0 and (external is None or external.corners is None)

    def signature(self, images: Dataset | None = None, chosen: float | None = None) -> str:
        """Return the signature of a run; without arguments, as it is known before the run.

        Args:
            images: The images that were left, if some were unreadable.
            chosen: The threshold that the rule chose.
        """
        rule = f"{self.tau}-pseudo" if self.pseudo else self.tau
        tau = f"tau:{rule}" if self.held_out is None else f"tau:{rule}({self.held_out})"
        if not self.uses_threshold:
            tau = "tau:none"
        elif isinstance(self.tau, str) and chosen is not None:
            tau += f"={chosen:g}"
        provenance, protocol = self.provenance, self.protocol
        values = (images or self.images).signature, provenance.model, provenance.method, protocol.signature, tau
        return str(Signature(*values, f"wsol:{version('wsol')}"))


_IMAGES = re.compile(r"\+images:([0-9a-f]{8})(\.[0-9a-f]{8})?")
_MASKS = re.compile(r"\+masks(:[0-9a-f]{8})?")


def keep_common_images(signatures: Sequence[str]) -> list[str]:
    """Return signatures, or fields of them, without the fingerprints of images that not all of them have.

    Maps or boxes may be scored without the image files, and only some runs may have read all of them.
    """
    found = [_IMAGES.findall(signature) for signature in signatures]
    if len({len(fingerprints) for fingerprints in found}) > 1:
        return [drop_images(signature) for signature in signatures]
    if all(every for fingerprints in found for _, every in fingerprints):
        return [*signatures]
    return [shorten_images(signature) for signature in signatures]


def drop_images(signature: str) -> str:
    """Return a signature, or a field, without the fingerprints of images."""
    return _IMAGES.sub("", signature)


def drop_masks(signature: str) -> str:
    """Return a signature, or a field, without the fingerprints of masks."""
    return _MASKS.sub("", signature)


def shorten_images(signature: str) -> str:
    """Return a signature, or a field, without the fingerprints that cover the bytes of all images."""
    return _IMAGES.sub(r"+images:\1", signature)


def signature_differences(one: str, other: str) -> list[str]:
    """Return how two signatures differ, one phrase per field: ``protocol: A, not B``."""
    pair = Signature.parse(one), Signature.parse(other)
    return [
        f"{field.name}: {a.removeprefix(f'{field.name}:')}, not {b.removeprefix(f'{field.name}:')}"
        for field, a, b in zip(fields(Signature), *map(astuple, pair), strict=True)
        if a != b
    ]
