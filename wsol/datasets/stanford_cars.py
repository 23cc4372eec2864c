"""Stanford Cars: 196 models of cars."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.images import SUFFIXES
from wsol.io.mat import MatFile
from wsol.io.paths import FilesByStem, find_by_stem, resolve, safe_join

_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


@DATASETS.register("stanford-cars")
def stanford_cars(root: Path, split: Split) -> Dataset:
    """Read Stanford Cars (Krause et al., "3D Object Representations for Fine-Grained Categorization", 2013).

    Either layout: ``cars_train/*.jpg``, ``cars_test/*.jpg``, ``devkit/cars_meta.mat``, ``devkit/cars_train_annos.mat``
    and ``cars_test_annos_withlabels.mat``, in the devkit or beside it; or ``car_ims/*.jpg`` and ``cars_annos.mat``,
    which has all images and marks those of the test set. Images may have any suffix.

    One box per image, corners one-based and inclusive, as MATLAB counts pixels. The frame is the image file's own.
    Classes are in the order of the published names.

    Splits: ``test`` is the official test set, ``val`` a seeded tenth of the official training set, ``train`` the rest.

    Args:
        root: The folder with these folders, or its parent if it is named ``stanford_cars``.
        split: ``train``, ``val`` or ``test``.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    home = root / "stanford_cars" if (root / "stanford_cars").is_dir() else root
    single = home / "cars_annos.mat"
    names, cars = _read_all(single, split) if single.is_file() else _read_devkit(home, split)
    found: dict[Path, FilesByStem] = {}
    samples = []
    for car in cars:
        path = safe_join(home, car.file, car.source)
        if path.parent not in found:
            found[path.parent] = find_by_stem(path.parent, SUFFIXES, 0)
        box = as_boxes([car.corners])
        samples.append(Sample(car.file, car.label, box, "one-based", resolve(path, found[path.parent])))
    if split == "test":
        return Dataset("stanford-cars", split, tuple(samples), names)
    origin = TENTH_OF_TRAIN if split == "val" else ""
    return Dataset("stanford-cars", split, hold_out_tenth(samples, split), names, origin)


@dataclass(frozen=True)
class _Car:
    """One annotation.

    Attributes:
        file: Path of the image below the folder of the data set.
        label: Class index.
        corners: The published corners.
        source: The file that it is from.
    """

    file: str
    label: int
    corners: Sequence[float]
    source: Path


def _read_all(path: Path, split: Split) -> tuple[tuple[str, ...], list[_Car]]:
    """Read class names and the annotations of a split from the file that has all of them."""
    file = MatFile(path, "annotations and class names of all images")
    names = tuple(file.texts("class_names"))
    rows = file.records("annotations", (*_CORNERS, "class", "test"), ("relative_im_path",))
    return names, [
        _make_car(name, corners, label, len(names), path)
        for (*corners, label, is_test), (name,) in rows
        if bool(is_test) is (split == "test")
    ]


def _read_devkit(home: Path, split: Split) -> tuple[tuple[str, ...], list[_Car]]:
    """Read class names and the annotations of a split from the files of the devkit."""
    devkit = home / "devkit"
    names = tuple(MatFile(devkit / "cars_meta.mat", "the class names").texts("class_names"))
    if split == "test":
        places = (devkit / "cars_test_annos_withlabels.mat", home / "cars_test_annos_withlabels.mat")
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise InputError(
                f"{printable(places[0])} is missing; it may also be in {printable(home)}. It has the classes of the "
                "test images, which cars_test_annos.mat lacks"
            )
    else:
        path = devkit / "cars_train_annos.mat"
    file = MatFile(path, "the annotations of the images")
    rows = file.records("annotations", (*_CORNERS, "class"), ("fname",))
    folder = "cars_test" if split == "test" else "cars_train"
    return names, [
        _make_car(f"{folder}/{name}", corners, label, len(names), path) for (*corners, label), (name,) in rows
    ]


def _make_car(file: str, corners: Sequence[float], label: float, count: int, source: Path) -> _Car:
    if label not in range(1, count + 1):
        raise InputError(
            f"{printable(source)}: {printable(file)} has the class {label:g}; restore the file, whose classes are 1 to "
            f"{count}"
        )
    return _Car(file, int(label) - 1, corners, source)
