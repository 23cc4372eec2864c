"""Lists in the format of Choe et al., with or without the images."""

from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from wsol.datasets._object_masks import sample_from_masks
from wsol.datasets.base import DATASETS, SPLITS, Dataset, Sample, Split, as_boxes
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.paths import FOLLOW_LINKS, refuse_links, safe_join
from wsol.io.text import parse_class_index, parse_int, parse_number, read_rows, set_once


@DATASETS.register("metadata")
def metadata(root: Path, split: Split, images: str = "", masks: str = "", links: str = "") -> Dataset:
    """Read the lists of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020.

    ``image_ids.txt`` (path), ``class_labels.txt`` (path,int), ``image_sizes.txt`` (path,width,height) and
    ``localization.txt`` (path,x0,y0,x1,y1, one line a box; or path,mask,ignore, one line an object, where masks are
    known, as in OpenImages30k) lie in ``root`` itself, which then is the split, or in ``root/<split>``. Corners are
    0-based and inclusive; the published lists end at width - 1. Where masks are known the extent of each gives a box.
    Classes are known by number only.

    Args:
        root: Folder with the lists, or with a folder of lists for each split.
        split: ``train``, ``val`` or ``test``.
        images: Folder below which the paths lie; without it only maps or boxes made elsewhere can be scored.
        masks: Folder below which the paths of masks lie; ``images`` if empty.
        links: ``follow`` lets symbolic links lead out of these folders.

    Raises:
        InputError: A list is missing or malformed, or names an image that ``image_ids.txt`` does not.
    """
    own = root / "image_ids.txt"
    if own.is_file() and root.name in SPLITS and root.name != split:
        raise InputError(f"{root} holds the lists of the split {root.name}, not {split}; give --split {root.name}")
    image_folder, mask_folder = (Path(folder) if folder else None for folder in (images, masks))
    samples = read_lists(root if own.is_file() else root / split, image_folder, mask_folder, links)
    count = 1 + max((sample.label for sample in samples), default=-1)
    return Dataset("metadata", split, samples, tuple(str(label) for label in range(count)))


def read_lists(folder: Path, images: Path | None, masks: Path | None = None, links: str = "") -> tuple[Sample, ...]:
    """Read one folder of lists.

    Args:
        folder: Holds the four files.
        images: Folder below which the paths lie, if there is one.
        masks: Folder below which the paths of masks lie; ``images`` if None.
        links: Whether masks may lie elsewhere by links, as for ``metadata``.

    Returns:
        One sample a line of ``image_ids.txt``, in its order; without boxes where ``localization.txt`` has none.

    Raises:
        InputError: As for ``metadata``.
    """
    ids = [row[0] for row in read_rows(folder / "image_ids.txt", "an image path", 1, ",")]
    labels: dict[str, int] = {}
    sizes: dict[str, tuple[int, int]] = {}
    labelled, path = folder / "class_labels.txt", folder / "localization.txt"
    for image_id, label in read_rows(labelled, "path,label", 2, ","):
        set_once(labels, image_id, parse_class_index(label, labelled, image_id), labelled)
    found: dict[str, list[list[str]]] = {image_id: [] for image_id in ids}
    masked = False
    if path.is_file() or folder.name != "train":
        masked = _holds_masks(path)
        columns = ("path,mask,ignore", 3) if masked else ("path,x0,y0,x1,y1", 5)
        for image_id, *fields in read_rows(path, *columns, ","):
            if image_id not in found:
                raise InputError(
                    f"{printable(path)} has a box for {printable(image_id)}, which image_ids.txt does not list; "
                    "add or remove it"
                )
            found[image_id].append(fields)
    listed = folder / "image_sizes.txt"
    sized = listed.is_file() or not (masked or folder.name == "train")  # OpenImages30k comes without
    for image_id, width, height in read_rows(listed, "path,width,height", 3, ",") if sized else ():
        set_once(sizes, image_id, (parse_int(width, listed, image_id), parse_int(height, listed, image_id)), listed)
    files = {i: safe_join(images, i, folder / "image_ids.txt") if images else None for i in ids}
    complete: dict[str, Mapping[str, object]] = {"class_labels.txt": labels}
    if sized and not masked:
        complete["image_sizes.txt"] = sizes
    for name, table in complete.items():
        absent = [image_id for image_id in ids if image_id not in table]
        if absent:
            raise InputError(
                f"{printable(folder / name)} lacks {len(absent)} images of image_ids.txt, the first "
                f"{printable(absent[0])}; "
                "add them"
            )
    if not masked:
        boxes = {i: as_boxes([[parse_number(corner, path, i) for corner in row] for row in found[i]]) for i in ids}
        return tuple(Sample(i, labels[i], boxes[i], "inclusive", files[i], sizes.get(i)) for i in ids)
    home = masks or images
    if home is None:
        raise InputError(f"{path} names masks; give --dataset-arg masks=DIR, the folder below which they lie")
    places = {name: safe_join(home, name, path) for i in ids for row in found[i] for name in row if name}
    if links != FOLLOW_LINKS:
        refuse_links(places.values(), [home])
    bar = tqdm(ids, desc="masks", unit="image", leave=False, disable=None)
    return tuple(_masked(i, labels[i], files[i], sizes.get(i), found[i], places) for i in bar)


def _holds_masks(path: Path) -> bool:
    """Return whether the first line ends in file names rather than four numbers."""
    first = next(read_rows(path, "path,x0,y0,x1,y1 or path,mask,ignore", 3, ","), None)
    if first is None:
        return False
    try:
        float(first[1])
    except ValueError:
        return True
    return False


def _masked(
    image_id: str,
    label: int,
    path: Path | None,
    size: tuple[int, int] | None,
    rows: list[list[str]],
    places: dict[str, Path],
) -> Sample:
    if not rows:
        raise InputError(
            f"{printable(image_id)} has no mask in localization.txt; add one or take it out of image_ids.txt"
        )
    ignored = {ignore for _, ignore in rows if ignore}
    if len(ignored) > 1:
        raise InputError(
            f"{printable(image_id)} has {len(ignored)} different masks to ignore in localization.txt; keep one"
        )
    if not all(mask for mask, _ in rows):
        raise InputError(
            f"{printable(image_id)} has a line without a mask in localization.txt; add its file or take it out"
        )
    ignore = places[ignored.pop()] if ignored else None
    return sample_from_masks(image_id, label, path, size, [places[mask] for mask, _ in rows], ignore)
