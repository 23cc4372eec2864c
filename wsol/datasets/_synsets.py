"""Lists of synsets and their names, as ILSVRC has them."""

from pathlib import Path

from wsol.io.text import read_lines, set_once


def read_synsets(path: Path) -> dict[str, str]:
    """Read a list with a synset and its name on each line; without a name, the synset is the name.

    Raises:
        InputError: The file is missing or no text, or names a synset twice.
    """
    synsets: dict[str, str] = {}
    for line in read_lines(path, "lines with a synset and its name"):
        wnid, _, name = line.strip().partition(" ")
        if wnid:
            set_once(synsets, wnid, name or wnid, path)
    return synsets
