"""Entries that cannot be used: counted, named, and an error unless they are to be left out."""

from collections import defaultdict

from wsol.errors import InputError
from wsol.io.display import escape_unprintable

_NAMED = 5
_LONGEST = 200  # characters of a name or a reason; files may be called anything, and so may be what is in them


class Faults:
    """Collects what is wrong with what was handed in.

    Args:
        where: The file or folder, for the message.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._kinds: defaultdict[str, list[str]] = defaultdict(list)
        self.reasons: dict[str, str] = {}

    def add(self, kind: str, name: str, reason: str = "", image_id: str | None = None) -> None:
        """Note an entry.

        Args:
            kind: Such as ``missing``; entries are counted by it.
            name: Of the entry, as the user knows it.
            reason: What is wrong with it, if the kind does not say so.
            image_id: The image that has to be left out for it, if there is one.
        """
        name, reason = (escape_unprintable(text)[:_LONGEST] for text in (name, reason))
        self._kinds[kind].append(f"{name} ({reason})" if reason else name)
        if image_id is not None:
            self.reasons[image_id] = f"{kind}: {reason or name}"

    def raise_or_report(self, skip: bool) -> list[str]:
        """Return a phrase for each kind, with the count and the first names.

        Raises:
            InputError: There is a fault, and none may be skipped.
        """
        phrases = []
        for kind, names in self._kinds.items():
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            phrases.append(f"{len(names)} {kind}: {', '.join(names[:_NAMED])}{more}")
        if phrases and not skip:
            raise InputError(
                f"{self._where} does not fit the images: {'; '.join(phrases)}; mend it, or give --skip-bad to leave "
                "these images out of the numbers and these entries unread"
            )
        return phrases
