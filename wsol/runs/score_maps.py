"""The raw maps that a run keeps."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.io.arrays import memory_map
from wsol.protocols import View, find_protocol


def read_maps(folder: Path, facts: Mapping[str, Any], guesses: tuple[int, ...]) -> tuple[View, NDArray[np.float32]]:
    """Map ``maps.npy`` into memory.

    Args:
        folder: Of the run.
        facts: What its ``run.json`` holds.
        guesses: ``(n, k)``, images and guesses that the run has.

    Returns:
        What the maps were made of, and float32 ``(n, k, h, w)``, or ``(n, k, crops, h, w)`` of several crops.

    Raises:
        FileNotFoundError: It has none.
        ValueError: They are not those of its guesses and its protocol.
    """
    maps = memory_map(folder / "maps.npy")
    view = find_protocol(facts["protocol"]["signature"]).view
    if facts["view"] != asdict(view):
        raise ValueError("run.json: the view is not that of the protocol")
    crops = (view.count,) if view.count > 1 else ()
    if maps.dtype != np.float32 or maps.shape[:-2] != (*guesses, *crops) or not (maps.size and maps.flags.c_contiguous):
        raise ValueError(f"maps.npy: its files do not belong together, as it holds {maps.dtype} {maps.shape}")
    return view, maps
