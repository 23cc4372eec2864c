"""Score maps that were made elsewhere."""

import hashlib
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import Reals
from wsol.datasets import Dataset
from wsol.errors import InputError, first_line
from wsol.evaluation.finish import Provenance, file_signature
from wsol.evaluation.sources._faults import Faults
from wsol.evaluation.sources._gather import collected, ground_truths_of, score_all
from wsol.io.arrays import read_array, require_file
from wsol.metrics.image_stats import ImageStats
from wsol.protocols import Protocol
from wsol.runs.results import BoxesAtTau, LocalizationResults
from wsol.runtime.cost import Clock

_SUFFIXES = (".npy", ".npz")


def from_maps(
    path: Path,
    images: Dataset,
    among: Dataset,
    protocol: Protocol,
    raw: bool,
    skip_bad: bool,
    pool: Executor,
    clock: Clock,
    level: int | None = None,
) -> tuple[Provenance, LocalizationResults]:
    """Score one map an image, that of its ground-truth class.

    Args:
        path: A folder with ``<image_id>.npy``, the image's own suffix kept or replaced (or ``.npz`` with one array); or
            one ``.npz`` file whose arrays are named likewise.
        images: The images; their files are not opened where the data set knows their sizes.
        among: The data set that they were taken from: a map of any of its images is not one too many.
        protocol: The conventions.
        raw: Whether maps are a network's own, of any size and range, to be upsampled and normalised by the protocol;
            else they are as the protocol takes them from others.
        skip_bad: Whether images without a good map are left out.
        pool: Threads that read.
        clock: Gets the seconds.
        level: Index of the tau at which boxes will be drawn, if it is known; else maps are read again for that.

    Raises:
        InputError: Maps are missing, too many, or not as they should be, and ``skip_bad`` is not given.
    """
    truths, clipped = ground_truths_of(protocol, images)
    faults = Faults(str(path))
    readers = _matched(path, images, among, faults)
    faults.raise_or_report(skip_bad)
    own = BoxesAtTau(len(images), level)
    digests: list[bytes] = [b""] * len(images)

    def prepared(i: int) -> Reals:
        values = _read(readers[images.samples[i].image_id])
        score_map = protocol.prepare_external(values, truths[i].size, raw)
        content = np.ascontiguousarray(values).tobytes() + f"{values.dtype.str}{values.shape}".encode()
        digests[i] = hashlib.blake2b(content, digest_size=16).digest()
        return score_map

    def trace(i: int) -> ImageStats | None:
        name = images.samples[i].image_id
        if name not in readers:
            return None
        try:
            score_map = prepared(i)
        except ValueError as error:
            faults.add("unusable", name, str(error), name)
            return None
        return own(i, truths[i].score_map_stats(protocol, score_map))

    def draw(i: int, at: int) -> NDArray[np.float64]:
        if at == own.level:
            return own.boxes[i, None]
        boxes: NDArray[np.float64] = protocol.boxes(prepared(i)[None], protocol.taus[at : at + 1])[:, 0]
        return boxes

    stack, kept = score_all(protocol, images, truths, trace, pool, clock)
    notes = faults.raise_or_report(skip_bad)
    digest = hashlib.sha256(b"".join(digests)).hexdigest()
    facts = {"maps": {"path": path.name, "digest": digest}, "notes": notes}
    origin = Provenance(file_signature(path, digest), "raw-maps" if raw else "maps", None, facts)
    return origin, collected(protocol, images, truths, stack, kept, draw, faults.reasons, clipped)


def _matched(
    path: Path, images: Dataset, among: Dataset, faults: Faults
) -> dict[str, Callable[[], NDArray[np.generic]]]:
    """Find the array of every image, and notes what is missing, too many, or claimed twice."""
    arrays = _arrays(path)
    claims: defaultdict[str, list[str]] = defaultdict(list)
    readers, used = {}, set()
    wanted = {sample.image_id for sample in images}
    for sample in among:
        names = dict.fromkeys((sample.image_id, str(PurePosixPath(sample.image_id).with_suffix(""))))
        found = [name for name in names if name in arrays]
        used.update(found)
        if sample.image_id not in wanted:
            continue
        for name in found:
            claims[name].append(sample.image_id)
        if not found:
            faults.add("missing", sample.image_id, image_id=sample.image_id)
        elif sum(len(arrays[name]) for name in found) > 1:
            faults.add("duplicate", sample.image_id, image_id=sample.image_id)
        else:
            readers[sample.image_id] = arrays[found[0]][0]
    for name, claimants in claims.items():
        if len(claimants) > 1:
            for image_id in claimants:
                readers.pop(image_id, None)
                faults.add("ambiguous", image_id, f"{len(claimants)} images share the map {name}", image_id)
    for name in sorted(arrays.keys() - used):
        faults.add("extra", name)
    return readers


def _read(reader: Callable[[], NDArray[np.generic]]) -> NDArray[np.generic]:
    try:
        return reader()
    except Exception as error:  # broken files raise anything from zlib's errors to MemoryError
        raise ValueError(f"cannot be read: {first_line(error)}") from error


def _arrays(path: Path) -> dict[str, list[Callable[[], NDArray[np.generic]]]]:
    """Return what reads each array, by its name without the suffix."""
    readers: defaultdict[str, list[Callable[[], NDArray[np.generic]]]] = defaultdict(list)
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES):
            readers[str(PurePosixPath(file.relative_to(path).with_suffix("")))].append(_Lone(file))
        if not readers:
            raise InputError(f"{path} holds no .npy or .npz files; give the folder of the score maps")
        return readers
    try:
        archive = zipfile.ZipFile(require_file(path))
    except Exception as error:  # broken files raise anything
        raise InputError(f"{path} is neither a folder of .npy files nor an .npz file ({first_line(error)})") from error
    for member in archive.infolist():
        readers[member.filename.removesuffix(".npy")].append(_Member(archive, member))
    return readers


class _Lone:
    """Reads a ``.npy`` file, or the one array of an ``.npz`` file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> NDArray[np.generic]:
        with require_file(self._path).open("rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return read_array(file, self._path.stat().st_size)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                if len(members) != 1:
                    raise ValueError(f"it holds {len(members)} arrays, not one")
                return _read_member(archive, members[0])


class _Member:
    """Reads one array of an archive, a thread at a time."""

    _lock = threading.Lock()

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self._archive, self._member = archive, member

    def __call__(self) -> NDArray[np.generic]:
        with self._lock:
            return _read_member(self._archive, self._member)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is compressed as no .npz file is")  # and is unpacked as a whole, however large it grows
    with archive.open(member) as file:
        return read_array(file, member.file_size)
