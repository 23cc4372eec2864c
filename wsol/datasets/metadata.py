"""Lists in the format of Choe et al., with or without the images."""

from collections.abc import Mapping
from pathlib import Path

from wsol.datasets._object_masks import sample_from_masks, sample_without_object
from wsol.datasets.base import DATASETS, SPLITS, Dataset, Sample, Split, as_boxes
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.paths import FOLLOW_LINKS, refuse_links, safe_join
from wsol.io.text import parse_class_index, parse_int, parse_number, read_lines, read_rows, set_once
from wsol.runtime.progress import track

_LABELS = "class_labels.txt"


@DATASETS.register("metadata")
def metadata(root: Path, split: Split, images: str = "", masks: str = "", links: str = "") -> Dataset:
    """Read the lists of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020.

    The lists are ``image_ids.txt`` (path), ``class_labels.txt`` (path,int), ``image_sizes.txt`` (path,width,height) and
    ``localization.txt`` (path,x0,y0,x1,y1, one line per box; or, for data sets with masks such as OpenImages30k,
    path,mask,ignore, one line per object). They are in ``root`` itself, which then is the split, or in
    ``root/<split>``. Corners are 0-based and inclusive; the published lists end at width - 1. The extent of each mask
    is a box. An image whose only line is ``path,,`` shows no object, as normal patches of histology. Class names are
    numbers, up to the highest in the lists of all splits in ``root``.

    Args:
        root: Folder with the lists, or with one folder of lists per split.
        split: ``train``, ``val`` or ``test``.
        images: Base folder of the paths; without it only existing score maps or boxes can be scored.
        masks: Base folder of the paths of masks; ``images`` if empty.
        links: ``follow`` lets symbolic links lead out of these folders.

    Raises:
        InputError: A list is missing or malformed, or names an image that is not in ``image_ids.txt``.
    """
    is_split = (root / "image_ids.txt").is_file()
    if is_split and root.name in SPLITS and root.name != split:
        raise InputError(f"{root} has the lists of the split {root.name}, not {split}; give --split {root.name}")
    image_folder, mask_folder = (Path(folder) if folder else None for folder in (images, masks))
    samples = read_lists(root if is_split else root / split, image_folder, mask_folder, links)
    others = () if is_split else (root / name / _LABELS for name in SPLITS if name != split)
    highest = [*(sample.label for sample in samples), *(_find_highest_label(path) for path in others if path.is_file())]
    return Dataset("metadata", split, samples, tuple(str(label) for label in range(1 + max(highest, default=-1))))


def read_lists(folder: Path, images: Path | None, masks: Path | None = None, links: str = "") -> tuple[Sample, ...]:
    """Read one folder of lists.

    Args:
        folder: Folder with the four files.
        images: Base folder of the paths, if there is one.
        masks: Base folder of the paths of masks; ``images`` if None.
        links: Whether links may lead out of the folder of the masks, as for ``metadata``.

    Returns:
        One sample per line of ``image_ids.txt``, in its order; without boxes where ``localization.txt`` has none.

    Raises:
        InputError: As for ``metadata``.
    """
    ids = [row[0] for row in read_rows(folder / "image_ids.txt", "an image path", 1, ",")]
    labels: dict[str, int] = {}
    sizes: dict[str, tuple[int, int]] = {}
    labels_path, sizes_path = folder / _LABELS, folder / "image_sizes.txt"
    path = folder / "localization.txt"
    for image_id, label in read_rows(labels_path, "path,label", 2, ","):
        set_once(labels, image_id, parse_class_index(label, labels_path, image_id), labels_path)
    rows: dict[str, list[list[str]]] = {image_id: [] for image_id in ids}
    has_masks = False
    if path.is_file() or folder.name != "train":
        has_masks = _lists_masks(path)
        columns = ("path,mask,ignore", 3) if has_masks else ("path,x0,y0,x1,y1", 5)
        for image_id, *fields in read_rows(path, *columns, ","):
            if image_id not in rows:
                raise InputError(
                    f"{printable(path)} has a box for {printable(image_id)}, which image_ids.txt does not list; add it "
                    "there, or remove the box"
                )
            rows[image_id].append(fields)
    has_sizes = not (has_masks or folder.name == "train")
    if sizes_path.is_file():  # that of OpenImages30k is published as an empty file
        has_sizes |= sizes_path.stat().st_size > 0
    for image_id, *size in read_rows(sizes_path, "path,width,height", 3, ",") if has_sizes else ():
        width, height = (parse_int(side, sizes_path, image_id) for side in size)
        set_once(sizes, image_id, (width, height), sizes_path)
    files = {i: safe_join(images, i, folder / "image_ids.txt") if images else None for i in ids}
    complete: dict[str, Mapping[str, object]] = {_LABELS: labels}
    if has_sizes and not has_masks:
        complete["image_sizes.txt"] = sizes
    for name, table in complete.items():
        missing = [image_id for image_id in ids if image_id not in table]
        if missing:
            raise InputError(
                f"{printable(folder / name)} lacks {len(missing)} images of image_ids.txt, such as "
                f"{printable(missing[0])}; add them"
            )
    if not has_masks:
        boxes = {i: as_boxes([[parse_number(corner, path, i) for corner in row] for row in rows[i]]) for i in ids}
        return tuple(Sample(i, labels[i], boxes[i], "inclusive", files[i], sizes.get(i)) for i in ids)
    home = masks or images
    if home is None:
        raise InputError(f"{path} names masks; give their base folder as --dataset-arg masks=DIR")
    mask_paths = {name: safe_join(home, name, path) for i in ids for row in rows[i] for name in row if name}
    if links != FOLLOW_LINKS:
        refuse_links(mask_paths.values(), [home])
    tracked = track(ids, "masks")
    return tuple(_read_sample(i, labels[i], files[i], sizes.get(i), rows[i], mask_paths) for i in tracked)


def _find_highest_label(path: Path) -> int:
    """Return the highest label of a list, which may have a million lines; -1 if it has none."""
    labels = {line.rpartition(",")[2].strip() for line in read_lines(path, "path,label")} - {""}
    return max((parse_class_index(label, path, "the last column") for label in labels), default=-1)


def _lists_masks(path: Path) -> bool:
    """Return whether the fields of the first line are file names rather than numbers."""
    first = next(read_rows(path, "path,x0,y0,x1,y1 or path,mask,ignore", 3, ","), None)
    if first is None:
        return False
    try:
        float(first[1])
    except ValueError:
        return True
    return False


def _read_sample(
    image_id: str,
    label: int,
    path: Path | None,
    size: tuple[int, int] | None,
    rows: list[list[str]],
    mask_paths: dict[str, Path],
) -> Sample:
    if rows == [["", ""]]:
        return sample_without_object(image_id, label, path, size)
    if not rows:
        raise InputError(
            f"{printable(image_id)} has no mask in localization.txt; add one, or remove the image from image_ids.txt"
        )
    ignored = {ignore for _, ignore in rows if ignore}
    if len(ignored) > 1:
        raise InputError(
            f"{printable(image_id)} has {len(ignored)} different ignore masks in localization.txt; keep one"
        )
    if not all(mask for mask, _ in rows):
        raise InputError(
            f"{printable(image_id)} has a line without a mask in localization.txt; add the mask or remove the line"
        )
    ignore = mask_paths[ignored.pop()] if ignored else None
    return sample_from_masks(image_id, label, path, size, [mask_paths[mask] for mask, _ in rows], ignore)
