"""CAMELYON16-512: patches of lymph nodes with and without metastases."""

from pathlib import Path

from wsol.datasets.base import DATASETS, Dataset, Split
from wsol.datasets.metadata import read_lists
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.paths import file_name

_FOLDERS = {"train": "train", "val": "valpx", "test": "test"}


@DATASETS.register("camelyon16-512")
def camelyon16_512(root: Path, split: Split, lists: str = "", links: str = "") -> Dataset:
    """Read CAMELYON16-512 (Rony et al., "Deep Weakly-Supervised Learning Methods for ... Histology Images", 2023).

    512 x 512 patches of the slides of CAMELYON16 (Ehteshami Bejnordi et al., JAMA 2017), sampled by the authors of the
    survey, who publish folds of lists in the format of Choe et al.

    Layout: ``camelyon16/w-512xh-512/metastatic-patches/.../Patch_*.png`` with the mask ``mask_*.png`` beside each,
    ``camelyon16/w-512xh-512/normal-patches/.../Patch_*.png`` without, and the lists
    ``{train,valpx,test}/{image_ids,class_labels,image_sizes,localization}.txt`` of a fold.

    A mask marks the metastasis, above 0.5, whose extent is the box. Normal patches, whose line in ``localization.txt``
    is ``path,,``, show no object: metrics of pixels and of classification count them, metrics of boxes do not.

    Args:
        root: The folder with ``camelyon16``.
        split: ``test`` and ``train`` as published; ``val`` is ``valpx``, the few patches whose masks choose settings.
        lists: Folder of a fold, such as ``folds/wsol-done-right-splits/CAMELYON512/fold-0`` in the repository
            jeromerony/survey_wsl_histology; if empty, ``fold-0`` in ``root``.
        links: ``follow`` lets symbolic links lead out of these folders.

    Raises:
        InputError: A list is missing or malformed, or a mask is missing, broken or empty.
    """
    fold = Path(lists) if lists else root / "fold-0"
    folder = fold / _FOLDERS[split]
    if not folder.is_dir():
        raise InputError(
            f"camelyon16-512: there is no folder {printable(folder)} with the lists of a fold; give --dataset-arg "
            "lists=DIR, a folder fold-... of CAMELYON512 in the repository jeromerony/survey_wsl_histology"
        )
    samples = read_lists(folder, root, links=links)
    return Dataset("camelyon16-512", split, samples, ("normal", "tumor"), file_name(fold.name))
