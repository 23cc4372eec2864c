"""Protocols: which conventions the stations right of ``cams`` follow."""

from wsol.protocols.base import PROTOCOLS, Protocol

__all__ = ["PROTOCOLS", "Protocol"]
