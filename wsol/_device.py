"""Where a network runs."""

import torch

from wsol.errors import InputError


def find_device(name: str | torch.device) -> torch.device:
    """Returns a device by name; ``auto`` is the GPU where there is one.

    Raises:
        InputError: It cannot be used here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"device {name!r} cannot be used here ({reason}); try cpu") from error
    return torch.device(name)
