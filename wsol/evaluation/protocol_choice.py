"""The choice of a setting of the protocol on the stored maps of a run, as that of tau."""

from collections.abc import Callable

from wsol.errors import InputError
from wsol.metrics.base import METRICS
from wsol.metrics.tau import Tau
from wsol.protocols import PROTOCOLS, Protocol, find_protocol
from wsol.runs.results import LocalizationResults
from wsol.runtime.progress import track


def find_open_protocol(text: str, has_maps: bool, tau: Tau) -> Protocol:
    """Return a protocol, one for ``choose_protocol`` too if the maps of a run are there to choose on.

    Args:
        text: As for ``find_protocol``.
        has_maps: Whether a run with its maps is scored.
        tau: The threshold, or the rule that chooses it.

    Raises:
        InputError: There is no such protocol, or nothing to choose on.
    """
    protocol = PROTOCOLS.find(text)
    if not (has_maps and protocol.chosen_on):
        return find_protocol(text)
    if protocol.chosen_on == "val" and tau != "val":
        raise InputError(
            f"protocol {text}: the rule val needs the validation images on which tau is chosen; "
            "give --tau val, whose tables have the oracle tau too"
        )
    return protocol


def choose_protocol(protocol: Protocol, score: Callable[[Protocol], LocalizationResults]) -> Protocol:
    """Return the candidate of a protocol that has the highest MaxBoxAcc, the first of equal ones.

    MaxBoxAcc is the highest GT-known accuracy over taus, at the protocol's delta: what ``tau val`` maximizes, and
    defined under every protocol. The authors of ``norm=ivr`` report MaxBoxAccV2.

    Args:
        protocol: A protocol with candidates.
        score: Scores the images that the rule chooses on.

    Raises:
        InputError: An image has no map of its class.
    """
    metric, best, hits = METRICS.get("max_box_acc"), protocol, -1
    for candidate in track(protocol.candidates, "choosing the protocol", unit="candidate"):
        stats = score(candidate).stats
        if not metric.applies(stats):
            raise InputError("the protocol is chosen by MaxBoxAcc, which needs a map for every image; give a number")
        most = int(stats.on_grid.hits.sum(0).max())
        if most > hits:
            best, hits = candidate, most
    return best
