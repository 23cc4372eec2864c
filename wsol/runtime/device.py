"""The device that a network runs on."""

import os

import torch

from wsol.errors import InputError, first_line


def find_device(name: str | torch.device) -> torch.device:
    """Return a device by name; ``auto`` is the GPU if there is one.

    Each of several processes on a machine, which torchrun numbers, gets its own GPU.

    Raises:
        InputError: The device cannot be used.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error).split(". ")[0]  # the rest says how to install what is missing
        raise InputError(f"device {name!r} cannot be used here ({reason}); try cpu") from error
    return device
