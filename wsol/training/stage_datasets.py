"""The images of every stage of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from wsol.datasets import Dataset, Split, load_dataset
from wsol.errors import InputError
from wsol.training.recipe import Stage


class StageDatasets:
    """The images of every stage; each split of each stage is loaded once.

    Args:
        name: Registered name of the data set.
        root: Folder of the data set; None for the default.
        arguments: Arguments of the data set; those of a stage override them.
        stages: The stages.

    Attributes:
        stages: The stages.
    """

    def __init__(
        self, name: str, root: str | Path | None, arguments: Mapping[str, str], stages: Sequence[Stage]
    ) -> None:
        self._name, self._root, self._arguments, self.stages = name, root, arguments, stages
        self._loaded: dict[tuple[int, Split], Dataset] = {}

    def load(self, stage: Stage, split: Split) -> Dataset:
        """Return a split with the arguments of a stage."""
        key = (self.stages.index(stage), split)
        if key not in self._loaded:
            arguments = {**self._arguments, **stage.dataset_args}
            try:
                self._loaded[key] = load_dataset(self._name, self._root, split, arguments)
            except InputError as error:
                remedy = "; --no-validation trains without val" if split == "val" else ""
                raise InputError(f"{error}{remedy}") from error
        return self._loaded[key]
