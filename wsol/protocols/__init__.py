"""Protocols: the conventions by which score maps become boxes and boxes are compared with the ground truth."""

from wsol.protocols._signatures import canonical_signature, protocol_family
from wsol.protocols._view import View, Window
from wsol.protocols.base import PROTOCOLS, Protocol
from wsol.protocols.find import find_protocol, find_side

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "View",
    "Window",
    "canonical_signature",
    "find_protocol",
    "find_side",
    "protocol_family",
]
