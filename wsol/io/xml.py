"""Reading annotations in XML: elements and text, none of what makes XML dangerous."""

import xml.etree.ElementTree as ET
from pathlib import Path

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.paths import check_file

_MOST_BYTES = 2**22  # of one image's annotation; real ones have a thousand


def read_xml(path: Path) -> ET.Element:
    """Read one image's annotation.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, no file, no XML or enormous, or declares a document type: entities, which may
            name other files or grow without end, need one, and no annotation does.
    """
    where = printable(path)
    try:
        size = check_file(path)
        tree = ET.parse(path, ET.XMLParser(target=_Plain())) if size <= _MOST_BYTES else None
    except FileNotFoundError as error:
        raise InputError(f"{where} is missing: the image has no box; add the file or take the image out") from error
    except _DoctypeError as error:
        raise InputError(f"{where} has a document type declaration (DOCTYPE); take it out") from error
    except (ET.ParseError, LookupError, ValueError, OSError) as error:  # the middle two: encodings nobody has
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where} is not readable XML ({printable(said)}); restore the file") from error
    if tree is None:
        raise InputError(f"{where} has {size:,} bytes, too many for one image; restore the file")
    return tree.getroot()


class _DoctypeError(Exception):
    pass


class _Plain(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise _DoctypeError
