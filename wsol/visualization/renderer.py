"""Everything in ``wsol.explain`` except the networks: photos are read, figures drawn and written, without Torch."""

import difflib
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset, Sample, Split, check_dataset, load_dataset
from wsol.errors import ImageError, InputError
from wsol.io.atomic import atomic_write
from wsol.io.display import printable
from wsol.io.paths import file_name
from wsol.metrics.tau import find_tau_index, round_tau
from wsol.protocols import find_protocol, find_side
from wsol.reports.canvas import PngFigure
from wsol.reports.fonts import truncate_to_width
from wsol.reports.overlay import draw_overlays
from wsol.runs.signature import Signature
from wsol.visualization.panels import LocalizedPrediction, arrange_panels, format_percent, localize_prediction
from wsol.visualization.photos import LoadedPhoto, Photo, Source, find_photos, load
from wsol.visualization.predictions import PhotoPrediction

_PART_BYTES = 60  # of a file name, for the photo, the models and the methods each; disks allow 255 in all
_MAX_NAME = 40  # characters of a class name on the terminal


class PhotoRenderer:
    """Reads photos and draws figures of predictions for them.

    Args:
        protocol: Registered name, or one with settings.
        tau: Threshold of the boxes, on the protocol's grid.
        cmap: Name of a Matplotlib colormap.
        alpha: Weight of the map's color in an overlay, in [0, 1].

    Raises:
        InputError: An argument is unknown or out of range.
    """

    def __init__(self, protocol: str, tau: float, cmap: str, alpha: float) -> None:
        self._text, self._given_tau = protocol, tau
        self._protocol = find_protocol(protocol).including(tau)
        taus = self._protocol.taus
        tau_index = find_tau_index(tau, taus) if len(taus) else 0
        self._taus = taus[tau_index : tau_index + 1]
        self._tau = round_tau(taus, tau_index) if len(taus) else None
        if cmap not in matplotlib.colormaps:
            close = difflib.get_close_matches(cmap, matplotlib.colormaps, 3) or ["inferno", "viridis", "jet"]
            raise InputError(f"Matplotlib has no colormap {cmap!r}; did you mean {' or '.join(close)}?")
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha is {alpha}; give a number from 0 (only the photo) to 1 (only the map)")
        self._style = matplotlib.colormaps[cmap], alpha
        self._classes: tuple[str, ...] = ()
        self._photos: list[Photo] = []
        self._loaded: dict[int, LoadedPhoto] = {}

    def find(
        self,
        sources: Sequence[Source],
        dataset: str | Dataset | None = None,
        root: str | Path | None = None,
        split: Split = "test",
        dataset_args: Mapping[str, str] | None = None,
    ) -> tuple[list[str], tuple[str, ...]]:
        """Find the photos, see ``find_photos``, in a data set, see ``load_dataset``.

        Returns:
            Names of the photos, and of the data set's classes.
        """
        if isinstance(dataset, Dataset):
            check_dataset(dataset)
        elif dataset is not None:
            dataset = load_dataset(dataset, root, split, dataset_args)
        elif root is not None or dataset_args:
            raise InputError("data_root and dataset_args require a data set; give its name as dataset")
        self._photos = find_photos(sources, dataset)
        self._classes = dataset.classes if dataset else ()
        return [printable(photo.name) for photo in self._photos], self._classes

    def find_side(self) -> int | None:
        """Return the side of the images that the protocol shows to a network; None for that of its weights."""
        return find_side(self._text)

    def use_side(self, side: int) -> bool:
        """Take the side of the networks' input from them, unless the protocol names it; return whether it changes."""
        view = self._protocol.view
        self._protocol = find_protocol(self._text, side).including(self._given_tau)
        return self._protocol.view != view

    def load(self, i: int) -> list[NDArray[np.uint8]]:
        """Read a photo and return the network inputs: uint8 ``(1, crop, crop, 3)`` per crop.

        Raises:
            ImageError: The file is missing or not an image.
        """
        try:
            self._loaded[i] = load(self._photos[i], self._protocol.view)
        except ImageError as error:
            raise ImageError(printable(str(error))) from error
        return self._loaded[i].crops

    def draw(self, rows: Mapping[int, Sequence[PhotoPrediction]]) -> PngFigure:
        """Draw loaded photos, given by index, with their predictions."""
        return self._draw({i: self._localize(i, predictions) for i, predictions in rows.items()})

    def write(self, i: int, rows: Sequence[PhotoPrediction], folder: Path, save_maps: bool) -> str:
        """Write the figure of a loaded photo.

        Args:
            i: Index of the photo, which is released afterwards.
            rows: Predictions for the photo.
            folder: Folder for ``PHOTO-MODEL-METHOD-HASH.png``. The hash covers everything that decides the figure, so
                that a different figure is never overwritten.
            save_maps: Whether to write raw maps, classes, probabilities and boxes next to it; with several rows
                ``...-row1.npz`` and so on.

        Returns:
            A line for the terminal: the file, and the classes with their probabilities.
        """
        photo, loaded = self._photos[i], self._loaded[i]
        localized = self._localize(i, rows)
        signatures = [self._signature(photo, loaded, prediction) for prediction in rows]
        cmap, alpha = self._style
        truth = [f"{sample.label} {sample.edges.tolist()}" for sample in photo.truth]
        classes = [f"{prediction.classes.tolist()} {prediction.names}" for prediction in rows]
        request = [photo.key, *truth, *classes, *signatures, cmap.name, f"{alpha:g}"]
        networks = _drop_duplicates(prediction.network for prediction in rows)
        methods = _drop_duplicates(prediction.method for prediction in rows)
        path = folder / _file_name(photo.name, networks, methods, request)
        png = self._draw({i: localized}).to_png({"signature": "\n".join(signatures)})
        if save_maps:
            for k, (signature, row) in enumerate(zip(signatures, localized, strict=True), 1):
                suffix = f"-row{k}" if len(rows) > 1 else ""
                with atomic_write(path.with_name(f"{path.stem}{suffix}.npz")) as file:
                    file.write_bytes(_encode_npz(row, loaded.size, signature))
        with atomic_write(path) as file:
            file.write_bytes(png)
        del self._loaded[i]
        return f"{path}: {_format_classes(rows)}"

    def warm_up(self) -> None:
        """Draw a tiny figure, so that everything that is loaded or compiled lazily is ready."""
        sample = Sample("warm-up", 0, np.empty((0, 4)), "edges", render=lambda: np.zeros((8, 8, 3), np.uint8))
        photo = Photo("warm-up", "warm-up", sample)
        crops = len(self._protocol.view.crop_positions)
        maps = np.zeros((1, crops, 8, 8) if crops > 1 else (1, 8, 8), np.float32)
        maps[..., 2:5, 2:5] = 1
        prediction = PhotoPrediction("", "", ("", ""), np.zeros(1, np.int64), ("",), np.ones(1, np.float32), maps, True)
        loaded = load(photo, self._protocol.view)
        localized = localize_prediction(prediction, photo, loaded, self._protocol, self._taus)
        panels = arrange_panels(photo, loaded, [("", localized)], ())
        draw_overlays([panels], "", self._tau, *self._style).to_png({})

    def _localize(self, i: int, rows: Sequence[PhotoPrediction]) -> list[LocalizedPrediction]:
        photo, loaded = self._photos[i], self._loaded[i]
        return [localize_prediction(prediction, photo, loaded, self._protocol, self._taus) for prediction in rows]

    def _draw(self, photos: Mapping[int, Sequence[LocalizedPrediction]]) -> PngFigure:
        predictions = [row.prediction for rows in photos.values() for row in rows]
        columns = [_drop_duplicates(p.network for p in predictions), _drop_duplicates(p.method for p in predictions)]

        def label(prediction: PhotoPrediction) -> str:
            """Return the names that distinguish the row from the others."""
            names = (prediction.network, prediction.method)
            return " ".join(name for name, column in zip(names, columns, strict=True) if len(column) > 1)

        panels = [
            arrange_panels(
                self._photos[i], self._loaded[i], [(label(row.prediction), row) for row in rows], self._classes
            )
            for i, rows in photos.items()
        ]
        constant = [column[0] for column in columns if len(column) == 1]
        return draw_overlays(panels, " · ".join([*constant, self._protocol.signature]), self._tau, *self._style)

    def _signature(self, photo: Photo, loaded: LoadedPhoto, prediction: PhotoPrediction) -> str:
        name = printable(photo.name).replace("|", "_")
        model, method = prediction.signature_fields
        method += self._protocol.view.suffix
        tau = "tau:none" if self._tau is None else f"tau:{self._tau:g}"
        fields = (f"{name}:{loaded.digest[:8]}", model, method, self._protocol.signature, tau)
        return str(Signature(*fields, f"wsol:{version('wsol')}"))


def _drop_duplicates(names: Iterable[str]) -> list[str]:
    return [*dict.fromkeys(names)]


def _file_name(photo: str, networks: Sequence[str], methods: Sequence[str], request: Sequence[str]) -> str:
    parts = [file_name(part) for part in (Path(photo).stem, "+".join(networks), "+".join(methods))]
    short = [part.encode()[:_PART_BYTES].decode("utf-8", "ignore").strip(".-") for part in parts]
    digest = hashlib.sha256("\n".join(request).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{'-'.join(part for part in (*short, digest[:8]) if part)}.png"


def _encode_npz(localized: LocalizedPrediction, size: tuple[int, int], signature: str) -> bytes:
    prediction, file = localized.prediction, io.BytesIO()
    np.savez(
        file,
        maps=prediction.maps,
        classes=prediction.classes,
        names=np.array(prediction.names, np.str_),
        probabilities=prediction.probabilities,
        boxes=localized.boxes,
        size=np.array(size),
        signature=np.array(signature),
    )
    return file.getvalue()


def _format_classes(rows: Sequence[PhotoPrediction]) -> str:
    """Return the classes of each network with their probabilities."""
    networks = {prediction.network: prediction for prediction in rows}
    parts = []
    for network, prediction in networks.items():
        pairs = zip(prediction.names, prediction.probabilities.tolist(), strict=True)
        ranked = "; ".join(
            f"{truncate_to_width(printable(name), _MAX_NAME, len)} {format_percent(p)}" for name, p in pairs
        )
        parts.append((f"{network}: " if len(networks) > 1 else "") + (ranked or "no classes"))
    return " | ".join(parts)
