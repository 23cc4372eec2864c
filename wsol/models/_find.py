"""From a name to an architecture."""

from wsol.models._timm import Timm
from wsol.models._written import Written
from wsol.models.base import MODELS, Architecture


def find_architecture(name: str) -> Architecture:
    """Finds an architecture.

    Args:
        name: Registered name; ``timm/NAME`` for one of timm's; ``FILE.py:FUNCTION`` for a user's own.

    Raises:
        InputError: There is none; the message says what is near, or missing.
    """
    if name.startswith("timm/"):
        return Timm(name.removeprefix("timm/"))
    if ".py:" in name:
        return Written(name)
    return MODELS.get(name)
