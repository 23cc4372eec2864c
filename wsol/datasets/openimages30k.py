"""OpenImages30k: 100 classes of Open Images with object masks."""

from pathlib import Path

from wsol.datasets._openimages_names import NAMES
from wsol.datasets.base import DATASETS, Dataset, Split
from wsol.datasets.metadata import read_lists
from wsol.errors import InputError
from wsol.io.display import printable


@DATASETS.register("openimages30k")
def openimages30k(root: Path, split: Split, lists: str = "", links: str = "") -> Dataset:
    """Read OpenImages30k (Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020).

    Layout: ``{train,val,test}/<class>/<id>.jpg``, beside it the masks ``<id>_m<class>_<hash>.png`` of its objects and
    ``<id>_ignore.png``; and the published lists ``{train,val,test}/{image_ids,class_labels}.txt`` and
    ``{val,test}/localization.txt`` (path,mask,ignore).

    Foreground is what any mask marks, above 0.5. Pixels of the ignore mask that are not foreground are ignored. The
    benchmark reports PxAP alone and publishes no boxes; metrics of boxes use the extent of each mask. The frame is that
    of the masks.

    Classes are named as Open Images displays them, in the order of the published labels.

    Args:
        root: The folder ``OpenImages`` with ``train``, ``val`` and ``test``, or its parent.
        split: ``train``, ``val`` or ``test``, as published.
        lists: Folder with the lists, which is ``metadata/OpenImages`` in the repository clovaai/wsolevaluation; if
            empty, ``metadata/OpenImages`` in ``root``.
        links: ``follow`` lets symbolic links lead out of these folders.

    Raises:
        InputError: A list is missing or malformed, or a mask is missing, broken or empty.
    """
    home = root / "OpenImages" if (root / "OpenImages").is_dir() else root
    folder = (Path(lists) if lists else root / "metadata" / "OpenImages") / split
    if not folder.is_dir():
        raise InputError(
            f"openimages30k: there is no folder {printable(folder)} with the published lists; give --dataset-arg "
            "lists=DIR, the folder metadata/OpenImages of the repository clovaai/wsolevaluation"
        )
    samples = read_lists(folder, home, links=links)
    ids = {sample.label: Path(sample.image_id).parent.name for sample in samples}
    names = (ids.get(label, str(label)) for label in range(1 + max(ids, default=-1)))
    return Dataset("openimages30k", split, samples, tuple(NAMES.get(name, name) for name in names))
