"""Reading annotations in XML: elements and text, without the dangerous features of XML."""

import xml.etree.ElementTree as ET
from pathlib import Path

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.paths import check_file

_MAX_BYTES = 2**22  # of the annotation of one image; real ones have about a thousand


def read_xml(path: Path) -> ET.Element:
    """Read the annotation of one image.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, not a regular file, not XML, or too large, or it declares a document type:
            entities, which may include other files or expand without end, need one, and annotations never do.
    """
    where = printable(path)
    try:
        size = check_file(path)
        tree = ET.parse(path, ET.XMLParser(target=_TreeBuilder())) if size <= _MAX_BYTES else None
    except FileNotFoundError as error:
        raise InputError(f"{where} is missing: the image has no box; add the file or remove the image") from error
    except _DoctypeError as error:
        raise InputError(f"{where} has a document type declaration (DOCTYPE); remove it") from error
    except (ET.ParseError, LookupError, ValueError, OSError) as error:  # the middle two: unknown encodings
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where} is not readable XML ({printable(reason)}); restore the file") from error
    if tree is None:
        raise InputError(f"{where} has {size:,} bytes, too many for one image; restore the file")
    return tree.getroot()


class _DoctypeError(Exception):
    pass


class _TreeBuilder(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise _DoctypeError
