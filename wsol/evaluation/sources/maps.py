"""External score maps: a folder of arrays, or an archive of them."""

import hashlib
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import FloatArray
from wsol.datasets import Dataset
from wsol.errors import InputError, first_line
from wsol.evaluation.sources._faults import Faults
from wsol.evaluation.sources._scoring import by_image, gather_results, ground_truths_of, score_all
from wsol.io.arrays import read_array, require_file
from wsol.io.display import list_first
from wsol.metrics.image_stats import ImageStats
from wsol.protocols import Protocol
from wsol.runs.heat_maps import HeatMaps
from wsol.runs.provenance import ExternalFile, Provenance, file_signature
from wsol.runs.results import BoxesAtTau, LocalizationResults
from wsol.runtime.cost import Clock
from wsol.runtime.threads import map_ordered

_SUFFIXES = (".npy", ".npz")


def score_maps(
    path: Path,
    images: Dataset,
    dataset: Dataset,
    protocol: Protocol,
    raw: bool,
    skip_bad: bool,
    pool: Executor,
    clock: Clock,
    tau_index: int | None = None,
) -> tuple[Provenance, LocalizationResults]:
    """Score one map per image, that of its ground-truth class.

    Args:
        path: A folder with ``<image_id>.npy``, the image's own suffix kept or replaced (or ``.npz`` with one array); or
            one ``.npz`` file with arrays of these names.
        images: The images; their files are not opened if the data set knows their sizes.
        dataset: The data set that they are part of: a map of any of its images is not an extra one.
        protocol: The protocol.
        raw: Whether maps are a network's own output, of any size and range, for the protocol to upsample and normalize;
            otherwise they are as the protocol's authors hand them in.
        skip_bad: Whether images without a usable map are left out.
        pool: Threads that read maps.
        clock: Gets the seconds.
        tau_index: Index of the threshold of the predictions, if it is known; otherwise maps are read again for that.

    Raises:
        InputError: Maps are missing, extra or unusable, and ``skip_bad`` is false.
    """
    truths, clipped = ground_truths_of(protocol, images)
    faults = Faults(str(path))
    readers = _match_readers(path, images, dataset, faults)
    faults.raise_or_report(skip_bad)
    kept_boxes, heat_maps = BoxesAtTau(len(images), tau_index), HeatMaps(len(images))
    digests: list[bytes] = [b""] * len(images)
    constant: dict[int, bool] = {}  # whether the map has a box, for constant ones, by image index

    def prepare(i: int) -> FloatArray:
        values = _read(readers[images.samples[i].image_id])
        score_map = protocol.prepare_external(values, truths[i].size, raw)
        content = np.ascontiguousarray(values).tobytes() + f"{values.dtype.str}{values.shape}".encode()
        if values.min() == values.max():
            constant[i] = bool(score_map.max() > 0)
        digests[i] = hashlib.blake2b(content, digest_size=16).digest()
        return score_map

    def is_raw(i: int) -> bool:
        """Return whether the map is only unusable because it is a network's own output."""
        try:
            protocol.prepare_external(_read(readers[images.samples[i].image_id]), truths[i].size, raw=True)
        except ValueError:
            return False
        return not raw

    def image_stats(i: int) -> ImageStats | None:
        name = images.samples[i].image_id
        if name not in readers:
            return None
        try:
            score_map = prepare(i)
        except ValueError as error:
            faults.add("unusable", name, str(error), name)
            if is_raw(i):
                faults.advice = "give --raw for a network's own maps, of any size and range, fix them"
            return None
        heat_maps.keep(i, score_map)
        return kept_boxes.keep(i, truths[i].score_map_stats(protocol, score_map))

    def boxes_at(at: int) -> NDArray[np.float64]:
        if at == kept_boxes.tau_index:
            return kept_boxes.boxes[kept, None]
        tau = protocol.taus[at : at + 1]
        return np.stack([*map_ordered(pool, lambda i: protocol.boxes(prepare(i)[None], tau)[0], kept)])

    accumulator, kept = score_all(protocol, images, by_image(image_stats), pool, clock)
    notes = faults.raise_or_report(skip_bad)
    without, whole = (
        [images.samples[i].image_id for i in kept if constant.get(i) is has_box] for has_box in (False, True)
    )
    if whole:
        notes.append(
            f"{len(whole)} of {len(kept)} maps are constant; {protocol.name} takes normalized maps unchanged, so their "
            f"box is the whole image (a network's own output needs --raw): {list_first(whole)}"
        )
    external = ExternalFile(path.name, hashlib.sha256(b"".join(digests)).hexdigest())
    method = "raw-maps" if raw else "maps"
    provenance = Provenance(file_signature(path, external.sha256), method, external=external)
    results = gather_results(
        protocol, images, truths, accumulator, kept, boxes_at, faults.reasons, clipped, notes, without
    )
    return provenance, replace(results, heat_maps=heat_maps.array[kept])


def _match_readers(
    path: Path, images: Dataset, dataset: Dataset, faults: Faults
) -> dict[str, Callable[[], NDArray[np.generic]]]:
    """Return the reader of every image's map; note what is missing, extra, or shared by several images."""
    arrays = _find_readers(path)
    claims: defaultdict[str, list[str]] = defaultdict(list)
    readers, used = {}, set()
    needed = {sample.image_id for sample in images}
    for sample in dataset:
        names = dict.fromkeys((sample.image_id, str(PurePosixPath(sample.image_id).with_suffix(""))))
        present = [name for name in names if name in arrays]
        used.update(present)
        if sample.image_id not in needed:
            continue
        for name in present:
            claims[name].append(sample.image_id)
        if not present:
            faults.add("missing", sample.image_id, image_id=sample.image_id)
        elif sum(len(arrays[name]) for name in present) > 1:
            faults.add("duplicate", sample.image_id, image_id=sample.image_id)
        else:
            readers[sample.image_id] = arrays[present[0]][0]
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


def _find_readers(path: Path) -> dict[str, list[Callable[[], NDArray[np.generic]]]]:
    """Return the readers of all arrays by name, without the suffix."""
    readers: defaultdict[str, list[Callable[[], NDArray[np.generic]]]] = defaultdict(list)
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES):
            readers[str(PurePosixPath(file.relative_to(path).with_suffix("")))].append(_FileReader(file))
        if not readers:
            raise InputError(f"{path} has no .npy or .npz files; give the folder of the score maps")
        return readers
    try:
        archive = zipfile.ZipFile(require_file(path))
    except Exception as error:  # broken files raise anything
        raise InputError(f"{path} is neither a folder of .npy files nor an .npz file ({first_line(error)})") from error
    for member in archive.infolist():
        readers[member.filename.removesuffix(".npy")].append(_MemberReader(archive, member))
    return readers


class _FileReader:
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
                    raise ValueError(f"it has {len(members)} arrays, not one")
                return _read_member(archive, members[0])


class _MemberReader:
    """Reads one array of an archive, one thread at a time."""

    _lock = threading.Lock()

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self._archive, self._member = archive, member

    def __call__(self) -> NDArray[np.generic]:
        with self._lock:
            return _read_member(self._archive, self._member)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("its compression is not one of .npz files")  # others may unpack to any size
    with archive.open(member) as file:
        return read_array(file, member.file_size)
