"""The signature: everything that decides a number, in a line."""

from dataclasses import astuple, dataclass, fields

from wsol.errors import InputError


@dataclass(frozen=True)
class Signature:
    """The stations of a number, joined by ``|``.

    Attributes:
        dataset: Name, split, number of images and fingerprint.
        model: Name and hash of what made the maps or boxes.
        method: How they were made.
        protocol: The conventions.
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
        """Read a signature.

        Raises:
            InputError: It is none.
        """
        parts = text.split("|")
        if len(parts) != len(fields(cls)):
            raise InputError(f"{text!r:.80} is no signature: it should have {len(fields(cls))} parts joined by |")
        return cls(*parts)


def signature_differences(one: str, other: str) -> list[str]:
    """Return in what two signatures differ, a phrase for each station: ``protocol: A, not B``."""
    pair = Signature.parse(one), Signature.parse(other)
    return [
        f"{field.name}: {a}, not {b}"
        for field, a, b in zip(fields(Signature), *map(astuple, pair), strict=True)
        if a != b
    ]
