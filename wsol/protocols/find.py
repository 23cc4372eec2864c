"""Protocols by their names and settings."""

from dataclasses import fields

from wsol.errors import InputError
from wsol.protocols.base import PROTOCOLS, Protocol


def find_protocol(text: str, side: int | None = None) -> Protocol:
    """Return a protocol by its name, with the given settings in place of its defaults: ``wsolevaluation:step=0.01``.

    Args:
        text: ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``, as in the protocol's signature.
        side: Side of the images that the network takes: the setting ``size`` of the protocol, if it has one and the
            text does not name it.

    Raises:
        InputError: The name or a key is unknown, or a value does not have the type of its key, or a rule has to choose
            a value, which ``wsol.score`` does.
    """
    protocol = PROTOCOLS.find(text)
    if protocol.chosen_on:
        tau = " --tau val" if protocol.chosen_on == "val" else ""
        raise InputError(
            f"protocol {text}: the rule {protocol.chosen_on} chooses a value by scoring the stored maps of a run: "
            f"python -m wsol.eval{tau} --out RUN with another protocol, then python -m wsol.score{tau} --run RUN with "
            "this one"
        )
    if side is None or find_side(text) is not None:
        return protocol
    return PROTOCOLS.find(f"{text}{',' if ':' in text else ':'}size={side}")


def find_side(text: str) -> int | None:
    """Return the side of the images that a protocol shows to the network; None if it leaves that to the network.

    Args:
        text: ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``, see ``find_protocol``.
    """
    protocol = PROTOCOLS.find(text)
    named = {setting.partition("=")[0].strip() for setting in text.partition(":")[2].split(",")}
    has_size = any(each.name == "size" for each in fields(protocol))
    return None if has_size and "size" not in named else protocol.view.crop
