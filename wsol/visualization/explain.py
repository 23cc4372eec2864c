"""The loop of ``wsol.explain``: this process runs the networks, a child process reads photos and draws."""

import gc
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from wsol.errors import ImageError, InputError
from wsol.io.atomic import ensure_dir
from wsol.visualization.child_process import ChildProcess

_MAX_PENDING = 3  # figures that may wait to be drawn


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
    classes: Sequence[str | int],
    layer: str | None,
    output: str | None,
    map_size: int | None,
    protocol: str,
    tau: float,
    device: str,
    memory: float,
    cmap: str,
    alpha: float,
    skip_bad_images: bool,
    save_maps: bool,
    class_names: str | None,
    templates: str | None,
) -> Iterator[str]:
    """Write a figure of every photo.

    The child process imports Matplotlib and Numba while this process imports Torch and loads the networks, and draws
    one photo while this process runs the next. So a single photo takes hardly longer than loading the network and one
    forward pass.

    Args:
        images: Paths, folders, or image ids of the data set.
        networks: Name and weights of each network.
        methods: Names, or names with settings.
        out: Folder of the figures.
        dataset: See ``wsol.show``.
        data_root: See ``wsol.show``.
        dataset_args: See ``wsol.show``.
        split: See ``wsol.show``.
        top: See ``wsol.show``.
        classes: See ``wsol.show``.
        layer: See ``wsol.show``.
        output: See ``wsol.show``.
        map_size: See ``wsol.show``.
        protocol: See ``wsol.show``.
        tau: See ``wsol.show``.
        device: See ``wsol.show``.
        memory: See ``wsol.show``.
        cmap: See ``wsol.show``.
        alpha: See ``wsol.show``.
        skip_bad_images: Whether to continue after a photo that cannot be read.
        save_maps: Whether to write arrays next to each figure.
        class_names: See ``wsol.models.find_prompts``; with ``clip``, the classes are those of ImageNet.
        templates: See ``wsol.models.find_prompts``.

    Yields:
        One line for the terminal per photo.

    Raises:
        InputError: An argument is invalid.
    """
    ensure_dir(out)
    try:
        with ChildProcess("wsol.visualization.renderer:PhotoRenderer", protocol, tau, cmap, alpha) as renderer:
            photos = renderer.submit("find", images, dataset, data_root, split, dataset_args)
            next_crops = renderer.submit("load", 0)
            renderer.submit("warm_up")
            gc.disable()  # importing leaves little garbage, and looking for it takes half a second
            try:
                from wsol.models.find_prompts import find_prompts  # noqa: PLC0415  # torch takes seconds, which the child uses
                from wsol.visualization.predictor import PhotoPredictor  # noqa: PLC0415
            finally:
                gc.enable()

            names, dataset_classes = photos.result()
            side = renderer.submit("find_side").result()
            prompts = find_prompts(dataset_classes, (), class_names, templates)
            predictor = PhotoPredictor(
                networks, methods, top, classes, layer, map_size, output, side, device, memory, prompts
            )
            if renderer.submit("use_side", predictor.side).result():
                next_crops = renderer.submit("load", 0)
            pending: deque[Future[str]] = deque()
            skipped = 0
            for i, name in enumerate(names):
                current = next_crops
                if i + 1 < len(names):
                    next_crops = renderer.submit("load", i + 1)
                try:
                    crops = current.result()
                except ImageError as error:
                    if not skip_bad_images:
                        raise ImageError(f"{error}, or give --skip-bad-images to continue without it") from error
                    yield f"skipped: {error}"
                    skipped += 1
                    continue
                predictions = predictor.predict(crops, dataset_classes, name)
                pending.append(renderer.submit("write", i, predictions, out, save_maps))
                while len(pending) >= _MAX_PENDING:
                    yield pending.popleft().result()
            for line in pending:
                yield line.result()
            if skipped == len(names):
                raise InputError(f"none of the {skipped} photos can be read; see the reasons above")
    except BrokenProcessPool as error:
        raise InputError("the process that draws was killed; check that enough memory is free") from error
