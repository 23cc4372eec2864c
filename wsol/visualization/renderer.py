"""All of explaining but the networks: photos are read, boxes drawn, pictures written. Torch is not needed."""

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
from wsol.metrics.summary import find_tau_index, round_tau
from wsol.protocols import find_protocol
from wsol.reports.canvas import Picture
from wsol.reports.fonts import truncate_to_width
from wsol.reports.overlay import draw_overlays
from wsol.runs.signature import Signature
from wsol.visualization.photos import LoadedPhoto, Photo, Source, find_photos, load
from wsol.visualization.predictions import PhotoPrediction
from wsol.visualization.sheets import Located, lay_out_sheet, locate, percent

_PART = 60  # bytes that photo, models and methods have of a file name each; disks take 255
_WORD = 40  # characters of a class name on the terminal


class PhotoRenderer:
    """Reads photos, and makes pictures of what networks guess of them.

    Args:
        protocol: The conventions: a registered name, or one with changes.
        tau: Threshold of the boxes, on the protocol's grid.
        cmap: Name of a colour map of Matplotlib.
        alpha: What a map's colour has of an overlay, in [0, 1].

    Raises:
        InputError: One of them is unknown or out of range.
    """

    def __init__(self, protocol: str, tau: float, cmap: str, alpha: float) -> None:
        self._protocol = find_protocol(protocol)
        taus = self._protocol.taus
        level = find_tau_index(tau, taus) if len(taus) else 0
        self._taus = taus[level : level + 1]
        self._tau = round_tau(taus, level) if len(taus) else None
        if cmap not in matplotlib.colormaps:
            close = difflib.get_close_matches(cmap, matplotlib.colormaps, 3) or ["inferno", "viridis", "jet"]
            raise InputError(f"Matplotlib has no colour map {cmap!r}; did you mean {' or '.join(close)}?")
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha is {alpha}; give a number from 0 (the photo alone) to 1 (the map alone)")
        self._style = matplotlib.colormaps[cmap], alpha
        self._classes: tuple[str, ...] = ()
        self._photos: list[Photo] = []
        self._seen: dict[int, LoadedPhoto] = {}

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
            raise InputError("data_root and dataset_args go with a data set; name it")
        self._photos = find_photos(sources, dataset)
        self._classes = dataset.classes if dataset else ()
        return [printable(photo.name) for photo in self._photos], self._classes

    def load(self, i: int) -> list[NDArray[np.uint8]]:
        """Read a photo and returns what a network sees of it: uint8 ``(1, crop, crop, 3)`` a crop.

        Raises:
            ImageError: It is missing or no image.
        """
        try:
            self._seen[i] = load(self._photos[i], self._protocol.view)
        except ImageError as error:
            raise ImageError(printable(str(error))) from error
        return self._seen[i].crops

    def draw(self, rows: Mapping[int, Sequence[PhotoPrediction]]) -> Picture:
        """Draw photos that were seen, by their index, with what is guessed of them."""
        return self._draw({i: self._located(i, some) for i, some in rows.items()})

    def write(self, i: int, rows: Sequence[PhotoPrediction], folder: Path, save_maps: bool) -> str:
        """Write the picture of a photo that was seen.

        Args:
            i: Index of the photo, which is forgotten afterwards.
            rows: What is guessed of it.
            folder: Where ``PHOTO-MODEL-METHOD-HASH.png`` is written. The hash is that of everything that decides the
                picture, so that another picture is never overwritten.
            save_maps: Whether a file beside it gets raw maps, classes, probabilities and boxes; of several rows
                ``...-row1.npz`` and so on.

        Returns:
            A line for the terminal: the file, and the classes with their probabilities.
        """
        photo, seen = self._photos[i], self._seen[i]
        located = self._located(i, rows)
        signatures = [self._signature(photo, seen, guesses) for guesses in rows]
        cmap, alpha = self._style
        known = [f"{sample.label} {sample.edges.tolist()}" for sample in photo.truth]
        drawn = [f"{guesses.classes.tolist()} {guesses.names}" for guesses in rows]
        request = [photo.key, *known, *drawn, *signatures, cmap.name, f"{alpha:g}"]
        networks, methods = _unique(guesses.network for guesses in rows), _unique(guesses.method for guesses in rows)
        path = folder / _file_name(photo.name, networks, methods, request)
        picture = self._draw({i: located}).png({"signature": "\n".join(signatures)})
        if save_maps:
            for k, (signature, one) in enumerate(zip(signatures, located, strict=True), 1):
                row = f"-row{k}" if len(rows) > 1 else ""
                with atomic_write(path.with_name(f"{path.stem}{row}.npz")) as part:
                    part.write_bytes(_arrays(one, seen.size, signature))
        with atomic_write(path) as part:
            part.write_bytes(picture)
        del self._seen[i]
        return f"{path}: {_words(rows)}"

    def warm(self) -> None:
        """Does everything once, so that what is loaded late is there when it is needed."""
        sample = Sample("warm", 0, np.empty((0, 4)), "edges", render=lambda: np.zeros((8, 8, 3), np.uint8))
        photo = Photo("warm", "warm", sample)
        crops = len(self._protocol.view.places)
        maps = np.zeros((1, crops, 8, 8) if crops > 1 else (1, 8, 8), np.float32)
        maps[..., 2:5, 2:5] = 1
        guesses = PhotoPrediction("", "", ("", ""), np.zeros(1, np.int64), ("",), np.ones(1, np.float32), maps, True)
        seen = load(photo, self._protocol.view)
        located = locate(guesses, photo, seen, self._protocol, self._taus)
        draw_overlays([lay_out_sheet(photo, seen, [("", located)], ())], "", self._tau, *self._style).png({})

    def _located(self, i: int, rows: Sequence[PhotoPrediction]) -> list[Located]:
        photo, seen = self._photos[i], self._seen[i]
        return [locate(guesses, photo, seen, self._protocol, self._taus) for guesses in rows]

    def _draw(self, photos: Mapping[int, Sequence[Located]]) -> Picture:
        every = [one.guesses for located in photos.values() for one in located]
        columns = [_unique(g.network for g in every), _unique(g.method for g in every)]

        def label(guesses: PhotoPrediction) -> str:
            """What tells the row from the others."""
            words = (guesses.network, guesses.method)
            return " ".join(word for word, column in zip(words, columns, strict=True) if len(column) > 1)

        sheets = [
            lay_out_sheet(self._photos[i], self._seen[i], [(label(one.guesses), one) for one in located], self._classes)
            for i, located in photos.items()
        ]
        fixed = [column[0] for column in columns if len(column) == 1]
        return draw_overlays(sheets, " · ".join([*fixed, self._protocol.signature]), self._tau, *self._style)

    def _signature(self, photo: Photo, seen: LoadedPhoto, guesses: PhotoPrediction) -> str:
        name = printable(photo.name).replace("|", "_")
        model, method = guesses.stations
        method += self._protocol.view.suffix
        tau = "tau:none" if self._tau is None else f"tau:{self._tau:g}"
        stations = (f"{name}:{seen.digest[:8]}", model, method, self._protocol.signature, tau)
        return str(Signature(*stations, f"wsol:{version('wsol')}"))


def _unique(names: Iterable[str]) -> list[str]:
    return [*dict.fromkeys(names)]


def _file_name(photo: str, networks: Sequence[str], methods: Sequence[str], request: Sequence[str]) -> str:
    parts = [file_name(part) for part in (Path(photo).stem, "+".join(networks), "+".join(methods))]
    short = [part.encode()[:_PART].decode("utf-8", "ignore").strip(".-") for part in parts]
    digest = hashlib.sha256("\n".join(request).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{'-'.join(part for part in (*short, digest[:8]) if part)}.png"


def _arrays(located: Located, size: tuple[int, int], signature: str) -> bytes:
    guesses, file = located.guesses, io.BytesIO()
    np.savez(
        file,
        maps=guesses.maps,
        classes=guesses.classes,
        names=np.array(guesses.names, np.str_),
        probabilities=guesses.probabilities,
        boxes=located.boxes,
        size=np.array(size),
        signature=np.array(signature),
    )
    return file.getvalue()


def _words(rows: Sequence[PhotoPrediction]) -> str:
    """Return the classes of each network with their probabilities."""
    networks = {guesses.network: guesses for guesses in rows}
    parts = []
    for network, guesses in networks.items():
        pairs = zip(guesses.names, guesses.probabilities.tolist(), strict=True)
        words = "; ".join(f"{truncate_to_width(printable(name), _WORD, len)} {percent(p)}" for name, p in pairs)
        parts.append((f"{network}: " if len(networks) > 1 else "") + (words or "no classes"))
    return " | ".join(parts)
