"""The loop of the command: this process runs networks, another one reads photos and draws."""

import gc
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from wsol.errors import ImageError, InputError
from wsol.io.atomic import ensure_dir
from wsol.visualization.child_process import ChildProcess

_WAITING = 3  # pictures that may wait to be drawn


def explain(
    images: Sequence[str],
    networks: Sequence[tuple[str | None, str | None]],
    methods: Sequence[str],
    *,
    out: Path,
    dataset: str | None,
    data_root: Path | None,
    dataset_args: Mapping[str, str],
    split: str,
    top: int,
    layer: str | None,
    map_size: int | None,
    protocol: str,
    tau: float,
    device: str,
    memory: float,
    cmap: str,
    alpha: float,
    skip_bad_images: bool,
    save_maps: bool,
) -> Iterator[str]:
    """Write a picture of every photo.

    The other process imports Matplotlib and Numba while this one imports Torch and loads the networks, and draws a
    photo while this one runs the next. So a single photo takes hardly longer than loading and a forward pass.

    Args:
        images: Paths, folders, image ids of the data set.
        networks: Name and weights of each network.
        methods: Names, or names with settings.
        out: Folder to write.
        dataset: As for ``wsol.show``, and so on.
        data_root: Likewise.
        dataset_args: Likewise.
        split: Likewise.
        top: Likewise.
        layer: Likewise.
        map_size: Likewise.
        protocol: Likewise.
        tau: Likewise.
        device: Likewise.
        memory: Likewise.
        cmap: Likewise.
        alpha: Likewise.
        skip_bad_images: Go on where a photo cannot be read.
        save_maps: Write arrays beside each picture.

    Yields:
        A line for the terminal, one a photo.

    Raises:
        InputError: Something handed in cannot be used.
    """
    ensure_dir(out)
    try:
        with ChildProcess("wsol.visualization.renderer:Studio", protocol, tau, cmap, alpha) as studio:
            found = studio.submit("find", images, dataset, data_root, split, dataset_args)
            ahead = studio.submit("see", 0)
            studio.submit("warm")
            gc.disable()  # importing throws little away, and looking for it takes half a second
            try:
                from wsol.visualization.predictor import PhotoPredictor  # noqa: PLC0415  # torch takes seconds; the child uses them
            finally:
                gc.enable()

            names, classes = found.result()
            guesser = PhotoPredictor(networks, methods, top, layer, map_size, device, memory)
            waiting: deque[Future[str]] = deque()
            skipped = 0
            for i, name in enumerate(names):
                seen, ahead = ahead, studio.submit("see", i + 1) if i + 1 < len(names) else ahead
                try:
                    crops = seen.result()
                except ImageError as error:
                    if not skip_bad_images:
                        raise ImageError(f"{error}, or give --skip-bad-images to go on without it") from error
                    yield f"skipped: {error}"
                    skipped += 1
                    continue
                waiting.append(studio.submit("write", i, guesser.predict(crops, classes, name), out, save_maps))
                while len(waiting) >= _WAITING:
                    yield waiting.popleft().result()
            for picture in waiting:
                yield picture.result()
            if skipped == len(names):
                raise InputError(f"none of the {skipped} photos can be read; see the reasons above")
    except BrokenProcessPool as error:
        raise InputError("the process that draws was ended from outside; see whether there is memory left") from error
