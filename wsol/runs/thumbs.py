"""Small pictures of a run's images, kept so that a page can show them without the data set."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 160
_QUALITY = 70  # about 5 KB each
_PART = ".part"


class Thumbs:
    """Writes ``thumbs`` in a run folder, one JPEG file of 160 x 160 an image, aspect ratio not kept.

    A context: the folder appears when it is left, and only if nothing was raised.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "thumbs"
        self._part = folder / f"thumbs{_PART}"
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir()

    def add(self, i: int, pixels: NDArray[np.uint8]) -> None:
        """Keeps image ``i``, ``(height, width, 3)``; from whatever thread."""
        path = self._part / Path(thumb_name(i)).relative_to("thumbs")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(path, "JPEG", quality=_QUALITY)

    def __enter__(self) -> "Thumbs":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        shutil.rmtree(self._part if kind else self._path, ignore_errors=True)
        if kind is None:
            self._part.replace(self._path)


def thumb_name(i: int) -> str:
    """Returns the path of image ``i`` in a run folder, a thousand in a folder: ``thumbs/012/012345.jpg``."""
    return f"thumbs/{i // 1000:03d}/{i:06d}.jpg"
