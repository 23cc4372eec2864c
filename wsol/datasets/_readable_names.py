"""Names of classes as a sentence would spell them."""

import re
from collections.abc import Sequence

_SYNSET = re.compile(r"n\d{8}[\s,_-]+(?=\S)")
_NUMBER = re.compile(r"\d+\.(?=\D)")
_JOINED = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}  # of PASCAL VOC


def readable_name(name: str) -> str:
    """Return the name of a class as a sentence would spell it.

    - Of several synonyms, the first: ``tench, Tinca tinca`` (ImageNet) becomes ``tench``. A WordNet id before them is
      left out.
    - A number before a name and a dot are left out, and the name is in lower case: ``001.Black_footed_Albatross``
      (CUB) becomes ``black footed albatross``.
    - Underscores become spaces: ``american_bulldog`` (Oxford-IIIT Pet) becomes ``american bulldog``.
    - The three names that PASCAL VOC writes as one word are divided: ``pottedplant`` becomes ``potted plant``.

    Args:
        name: The name, as the data set has it.
    """
    short = _SYNSET.sub("", name.strip(), count=1).split(",", maxsplit=1)[0]
    plain = _NUMBER.sub("", short, count=1) if _NUMBER.match(short) else short
    words = " ".join((plain.lower() if plain != short else plain).replace("_", " ").split())
    return _JOINED.get(words, words)


def readable_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes as a sentence would spell them, see ``readable_name``."""
    return tuple(map(readable_name, names))
