"""Data sets: image, class, boxes and masks, each read in its original layout."""

from wsol.datasets._content import with_content
from wsol.datasets._images import Batch, frame_size, read_batches, read_image, read_upright
from wsol.datasets._items import from_items
from wsol.datasets._load import load_dataset
from wsol.datasets._pseudo_boxes import has_pseudo_boxes, unused_boxes, with_pseudo_boxes
from wsol.datasets._readable_names import readable_names
from wsol.datasets.base import DATASETS, SPLITS, Content, Dataset, Mask, Sample, Split, check_dataset, count_clipped

__all__ = [
    "DATASETS",
    "SPLITS",
    "Batch",
    "Content",
    "Dataset",
    "Mask",
    "Sample",
    "Split",
    "check_dataset",
    "count_clipped",
    "frame_size",
    "from_items",
    "has_pseudo_boxes",
    "load_dataset",
    "read_batches",
    "read_image",
    "read_upright",
    "readable_names",
    "unused_boxes",
    "with_content",
    "with_pseudo_boxes",
]
