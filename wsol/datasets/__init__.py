"""Data sets: image, class, boxes and masks, each read in its original layout."""

from wsol.datasets._images import Batch, frame_size, read_batches, read_image
from wsol.datasets._load import load_dataset
from wsol.datasets.base import DATASETS, SPLITS, Dataset, Mask, Sample, Split, check_dataset, count_clipped

__all__ = [
    "DATASETS",
    "SPLITS",
    "Batch",
    "Dataset",
    "Mask",
    "Sample",
    "Split",
    "check_dataset",
    "count_clipped",
    "frame_size",
    "load_dataset",
    "read_batches",
    "read_image",
]
