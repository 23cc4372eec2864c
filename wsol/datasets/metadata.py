"""Lists in the format of Choe et al., with or without the images."""

from pathlib import Path

from wsol.datasets._lists import number, read_rows, whole
from wsol.datasets.base import DATASETS, SPLITS, Dataset, Sample, Split, as_boxes
from wsol.errors import InputError


@DATASETS.register("metadata")
def metadata(root: Path, split: Split, images: str = "") -> Dataset:
    """Reads the lists of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020.

    ``image_ids.txt`` (path), ``class_labels.txt`` (path,int), ``image_sizes.txt`` (path,width,height) and
    ``localization.txt`` (path,x0,y0,x1,y1, one line a box) lie in ``root`` itself, which then is the split, or in
    ``root/<split>``. Corners are 0-based and inclusive; the published lists end at width - 1. Classes are known by
    number only.

    Args:
        root: Folder with the lists, or with a folder of lists for each split.
        split: ``train``, ``val`` or ``test``.
        images: Folder below which the paths lie; without it only maps or boxes made elsewhere can be scored.

    Raises:
        InputError: A list is missing or malformed, or names an image that ``image_ids.txt`` does not.
    """
    own = root / "image_ids.txt"
    if own.is_file() and root.name in SPLITS and root.name != split:
        raise InputError(f"{root} holds the lists of the split {root.name}, not {split}; give --split {root.name}")
    samples = read_lists(root if own.is_file() else root / split, Path(images) if images else None)
    count = 1 + max((sample.label for sample in samples), default=-1)
    return Dataset("metadata", split, samples, tuple(str(label) for label in range(count)))


def read_lists(folder: Path, images: Path | None) -> tuple[Sample, ...]:
    """Reads one folder of lists.

    Args:
        folder: Holds the four files.
        images: Folder below which the paths lie, if there is one.

    Returns:
        One sample a line of ``image_ids.txt``, in its order; without boxes where ``localization.txt`` has none.

    Raises:
        InputError: As for ``metadata``.
    """
    ids = [row[0] for row in read_rows(folder / "image_ids.txt", "an image path", 1, ",")]
    boxes: dict[str, list[list[float]]] = {image_id: [] for image_id in ids}
    labels, sizes = {}, {}
    path = folder / "class_labels.txt"
    for image_id, label in read_rows(path, "path,label", 2, ","):
        labels[image_id] = whole(label, path, image_id)
    path = folder / "image_sizes.txt"
    for image_id, width, height in read_rows(path, "path,width,height", 3, ","):
        sizes[image_id] = whole(width, path, image_id), whole(height, path, image_id)
    path = folder / "localization.txt"
    if path.is_file() or folder.name != "train":
        for image_id, *corners in read_rows(path, "path,x0,y0,x1,y1", 5, ","):
            if image_id not in boxes:
                raise InputError(
                    f"{path} has a box for {image_id}, which image_ids.txt does not list; add or remove it"
                )
            boxes[image_id].append([number(corner, path, image_id) for corner in corners])
    for name, table in (("class_labels.txt", labels), ("image_sizes.txt", sizes)):
        absent = [image_id for image_id in ids if image_id not in table]
        if absent:
            raise InputError(
                f"{folder / name} lacks {len(absent)} images of image_ids.txt, the first {absent[0]}; add them"
            )
    return tuple(
        Sample(i, labels[i], as_boxes(boxes[i]), "inclusive", images / i if images else None, sizes[i]) for i in ids
    )
