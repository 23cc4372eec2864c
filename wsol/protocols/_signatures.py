"""Signatures of protocols in runs of any version, in the form in which they are compared."""

import contextlib

from wsol.errors import InputError
from wsol.protocols.base import PROTOCOLS


def canonical_signature(text: str) -> str:
    """Return the signature of a protocol as this version writes it; that of a protocol that is not known as it is.

    Runs of earlier versions lack the settings that have been added since, which have their defaults there.
    """
    with contextlib.suppress(InputError):
        return PROTOCOLS.find(text).signature
    return text


def protocol_family(text: str) -> str:
    """Return ``Protocol.family`` of a signature; that of a protocol that is not known as it is."""
    with contextlib.suppress(InputError):
        return PROTOCOLS.find(text).family
    return text
