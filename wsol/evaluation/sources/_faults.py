"""Unusable entries of a file or folder: counted, named, and an error unless they may be left out."""

from collections import defaultdict

from wsol.errors import InputError
from wsol.io.display import escape_unprintable, list_first

_MAX_LENGTH = 200  # characters of a name or a reason, which may come from a file


class Faults:
    """Collects what is wrong with the entries of a file or folder.

    Args:
        where: The file or folder, for the message.

    Attributes:
        reasons: Why each image that is left out is, by its id.
        advice: How to fix it, for the message.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._kinds: defaultdict[str, list[str]] = defaultdict(list)
        self.reasons: dict[str, str] = {}
        self.advice = "fix it"

    def add(self, kind: str, name: str, reason: str = "", image_id: str | None = None) -> None:
        """Note an entry.

        Args:
            kind: Such as ``missing``; entries are counted by it.
            name: Name of the entry, as the user knows it.
            reason: What is wrong with it, if the kind does not say so.
            image_id: The image that is left out because of it, if there is one.
        """
        name, reason = (escape_unprintable(text)[:_MAX_LENGTH] for text in (name, reason))
        self._kinds[kind].append(f"{name} ({reason})" if reason else name)
        if image_id is not None:
            self.reasons[image_id] = f"{kind}: {reason or name}"

    def raise_or_report(self, skip: bool) -> list[str]:
        """Return one phrase per kind, with the count and the first names.

        Raises:
            InputError: There is a fault, and ``skip`` is false.
        """
        phrases = []
        for kind, names in self._kinds.items():
            phrases.append(f"{len(names)} {kind}: {list_first(names)}")
        if phrases and not skip:
            raise InputError(
                f"{self._where} does not fit the images: {'; '.join(phrases)}; {self.advice}, or give --skip-bad to "
                "leave these images out of the numbers and ignore these entries"
            )
        return phrases
