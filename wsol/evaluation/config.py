"""The options of an evaluation, declared once: for ``wsol.evaluate``, the command line and suite files."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsol.errors import InputError
from wsol.metrics.resamples import RESAMPLES, check_bootstrap
from wsol.metrics.tau import DEFAULT_TAU, Tau

if TYPE_CHECKING:  # torch takes seconds that --help need not wait for
    from torch import nn

    from wsol.datasets import Dataset, Split
    from wsol.methods import Method
    from wsol.models import Model
    from wsol.models.class_map import RankAmong
    from wsol.runtime.precision import Precision


@dataclass(frozen=True)
class Option:
    """One option on the command line and in a suite file.

    Attributes:
        group: Title of its group in ``--help``.
        help: Help text; a default is added to it.
        parse: Converts the text of the command line.
        kinds: Types of its value in a TOML file.
        expects: What a TOML file should hold, for messages.
        metavar: Placeholder of the value in ``--help``.
        flag: Name on the command line, if it is not the name of the field.
        choices: The strings that it takes.
        sets: Value that it sets on the command line, where it takes none and is not true.
        in_suite: Whether a suite file may set it.
    """

    group: str
    help: str
    parse: Callable[[str], Any] = str
    kinds: Any = str
    expects: str = "a string"
    metavar: str | None = None
    flag: str | None = None
    choices: tuple[str, ...] = ()
    sets: Any = None
    in_suite: bool = True

    @property
    def is_flag(self) -> bool:
        """True if it takes no value on the command line."""
        return self.kinds is bool or self.sets is not None


def parse_tau(text: str) -> Tau:
    """Parse a threshold: a number, ``val`` or ``oracle``."""
    try:
        return text if text in ("val", "oracle") else float(text)  # type: ignore[return-value]  # one of the two
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor val nor oracle") from error


NETWORK, IMAGES, MAPS = "network", "images", "score maps"
BOXES, SPEED, RUN = "boxes and metrics", "device and speed", "run folder"
_INTEGER: dict[str, Any] = {"parse": int, "kinds": int, "expects": "an integer", "metavar": "N"}
_FLAG: dict[str, Any] = {"kinds": bool, "expects": "true or false"}


def _option(group: str, text: str, **more: Any) -> dict[str, Option]:
    return {"option": Option(group, text, **more)}


@dataclass(frozen=True)
class EvalConfig:
    """The arguments of ``wsol.evaluate``; see there for their meaning."""

    model: "str | Model | nn.Module | None" = field(
        default=None,
        metadata=_option(
            NETWORK,
            "registered name, timm/NAME, open_clip/NAME, hf/ORG/NAME or FILE.py:FUNCTION; see python -m wsol.list "
            "models (default: the model that the weights file names)",
        ),
    )
    weights: "str | Path | None" = field(
        default=None,
        metadata=_option(
            NETWORK,
            "a .safetensors, .pth or .caffemodel file, a folder of transformers, or the name of published weights "
            "(default: bundled weights)",
        ),
    )
    preprocessing: object = None
    dataset: "str | Dataset" = field(
        default="synthetic", metadata=_option(IMAGES, "registered name; see python -m wsol.list datasets")
    )
    validation: "Dataset | None" = None
    data_root: "str | Path | None" = field(
        default=None,
        metadata=_option(
            IMAGES, "folder of the data set, or its zip archive (default: datasets/NAME)", parse=Path, metavar="PATH"
        ),
    )
    dataset_args: Mapping[str, str] | None = field(
        default=None,
        metadata=_option(
            IMAGES,
            "an argument of the data set; may be repeated",
            kinds=dict,
            expects="a table of strings and numbers",
            metavar="KEY=VALUE",
            flag="--dataset-arg",
        ),
    )
    download: bool = field(
        default=False, metadata=_option(IMAGES, "download the data set first, if its host allows it", **_FLAG)
    )
    split: "Split" = field(
        default="test",
        metadata=_option(IMAGES, "split of the data set", choices=("test", "val"), expects="'test' or 'val'"),
    )
    assume_class_order: bool = field(
        default=False,
        metadata=_option(
            IMAGES,
            "label i of the data set is output i of the network, although number or names of their classes differ",
            **_FLAG,
        ),
    )
    classes: "str | Path | None" = field(
        default=None,
        metadata=_option(
            NETWORK,
            "text file that names the outputs of the network, one name a line or index,name; or imagenet (default: "
            "the names that the weights have)",
            metavar="FILE",
        ),
    )
    rank_among: "RankAmong" = field(
        default="dataset",
        metadata=_option(
            NETWORK,
            "where the network has more classes than the data set: predict among those of the data set, or among all",
            choices=("dataset", "all"),
            expects="'dataset' or 'all'",
        ),
    )
    exact_images: bool = field(
        default=False,
        metadata=_option(
            IMAGES, "read every image file for its fingerprint in the signature, not only 64 of them", **_FLAG
        ),
    )
    method: "str | Method" = field(
        default="cam",
        metadata=_option(
            MAPS,
            "NAME, or FILE.py:CLASS for a method of your own; settings after a colon, NAME:KEY=VALUE,...; see python "
            "-m wsol.list methods",
        ),
    )
    layer: str | None = field(
        default=None,
        metadata=_option(
            MAPS, "dotted name of the target layer, or of several: layer3,layer4 (default: found in the network)"
        ),
    )
    output: str | None = field(
        default=None,
        metadata=_option(
            NETWORK,
            "name or index of the output that holds the class scores, of a network that returns several (default: "
            "logits, or the only one with a row per image)",
        ),
    )
    map_size: int | None = field(
        default=None,
        metadata=_option(
            MAPS,
            "side of the score maps for 224 x 224 input (default: the network's own)",
            **{**_INTEGER, "metavar": "SIDE"},
        ),
    )
    protocol: str = field(
        default="wsolevaluation",
        metadata=_option(BOXES, "NAME or NAME:KEY=VALUE,...; see python -m wsol.list protocols"),
    )
    tau: Tau = field(
        default=DEFAULT_TAU,
        metadata=_option(
            BOXES,
            "threshold of the predicted boxes: a number, val (chosen on the validation split) or oracle (the best on "
            "the evaluated images)",
            parse=parse_tau,
            kinds=int | float | str,
            expects="a number, 'val' or 'oracle'",
            choices=("val", "oracle"),
        ),
    )
    limit: int | None = field(
        default=None, metadata=_option(IMAGES, "evaluate at most N images, evenly spaced (default: all)", **_INTEGER)
    )
    bootstrap: int = field(
        default=RESAMPLES,
        metadata=_option(
            BOXES,
            "compute no intervals and no optimism, whose resamples take most of the time where images are few",
            **{**_INTEGER, "metavar": None},
            flag="--no-intervals",
            sets=0,
        ),
    )
    device: str = field(default="auto", metadata=_option(SPEED, "device of the network: auto, cpu, cuda, cuda:1, ..."))
    batch_size: int = field(default=32, metadata=_option(SPEED, "images per batch", **_INTEGER))
    workers: int | None = field(
        default=None,
        metadata=_option(
            SPEED, "processes that decode images, threads that compute boxes (default: one per processor)", **_INTEGER
        ),
    )
    memory: float = field(
        default=2.0,
        metadata=_option(
            SPEED,
            "memory budget of the method in GiB",
            parse=float,
            kinds=int | float,
            expects="a number",
            metavar="GIB",
        ),
    )
    precision: "Precision" = field(
        default="float32",
        metadata=_option(
            SPEED,
            "precision of the layers up to the target layer",
            choices=("float32", "tf32", "bfloat16"),
            expects="'float32', 'tf32' or 'bfloat16'",
        ),
    )
    channels_last: bool = field(
        default=False, metadata=_option(SPEED, "store convolution weights channels last", **_FLAG)
    )
    compiled: bool = field(
        default=False,
        metadata=_option(
            SPEED, "compile the layers up to the target layer with torch.compile", flag="--compile", **_FLAG
        ),
    )
    skip_bad_images: bool = field(
        default=False,
        metadata=_option(IMAGES, "count and list unreadable images instead of stopping at the first", **_FLAG),
    )
    out: "str | Path | None" = field(
        default=None,
        metadata=_option(
            RUN,
            "run folder (default: results/DATASET-SPLIT-MODEL-METHOD and the options that differ from their defaults)",
            parse=Path,
            metavar="DIR",
            in_suite=False,
        ),
    )
    resume: bool = field(
        default=False,
        metadata=_option(RUN, "continue the unfinished run in the run folder", in_suite=False, **_FLAG),
    )
    attribution: bool = field(
        default=False,
        metadata=_option(
            BOXES,
            "compute metrics of attributions too: how much of each map is on the object (pointing games, relevance "
            "mass and rank, AUC)",
            **_FLAG,
        ),
    )

    val_boxes: "str | Path | None" = field(
        default=None,
        metadata=_option(
            BOXES,
            "pseudo boxes that replace those of the split val, for --tau val: a folder of lists in the format of Choe "
            "et al., or a file in COCO's JSON format",
            parse=Path,
            metavar="DIR",
        ),
    )
    class_names: "str | Path | None" = field(
        default=None,
        metadata=_option(
            NETWORK,
            "text file with what the texts of a zero-shot classifier call the classes, one name a line in label order; "
            "or clip for CLIP's names of ImageNet's classes (default: the names of the data set)",
            metavar="FILE",
        ),
    )
    templates: "str | Path | None" = field(
        default=None,
        metadata=_option(
            NETWORK,
            "texts of a zero-shot classifier: clip80, photo, or a text file with one a line and {} in place of the "
            "class name (default: clip80)",
            metavar="FILE",
        ),
    )

    def __post_init__(self) -> None:
        if self.rank_among not in ("dataset", "all"):
            raise InputError(f"rank_among is {self.rank_among!r:.80}; give 'dataset' or 'all'")
        if self.classes is not None and self.assume_class_order:
            raise InputError(
                "classes are joined by name or taken in their order; give --classes or --assume-class-order"
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers is {self.workers}; give 1 or more")
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; give 1 or more")
        if not 0 < self.memory < 2**30:
            raise InputError(f"memory is {self.memory}; give more than 0 GiB, and less than 2^30")
        check_bootstrap(self.bootstrap)


def options() -> Iterator[tuple[str, Any, Option]]:
    """Yield name, default and option of every argument that text can give."""
    for each in fields(EvalConfig):
        if "option" in each.metadata:
            yield each.name, each.default, each.metadata["option"]
