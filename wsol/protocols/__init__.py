"""Protocols: which conventions the stations right of ``cams`` follow."""

from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, Protocol, find_protocol

__all__ = ["PROTOCOLS", "Protocol", "View", "find_protocol"]
