"""Data: known data sets and a user's own arrays, checked, normalized and divided into batches."""

from revgn.data.augmentation import pad_crop_flip
from revgn.data.batches import batch_indices, steps_per_epoch, take_batch
from revgn.data.crop import random_resized_crop
from revgn.data.dataset import Dataset, ImageShape, Part
from revgn.data.information import check_target_range, notes_on_data
from revgn.data.interface import Interface, interface_of
from revgn.data.placed import PlacedDataset, PlacedPart, place_dataset, place_part, place_rows, take_rows
from revgn.data.places import dataset_names, fetch
from revgn.data.settings import DataSettings
from revgn.data.sources import describe, list_datasets, load_dataset

__all__ = [
    "DataSettings",
    "Dataset",
    "ImageShape",
    "Interface",
    "Part",
    "PlacedDataset",
    "PlacedPart",
    "batch_indices",
    "check_target_range",
    "dataset_names",
    "describe",
    "fetch",
    "interface_of",
    "list_datasets",
    "load_dataset",
    "notes_on_data",
    "pad_crop_flip",
    "place_dataset",
    "place_part",
    "place_rows",
    "random_resized_crop",
    "steps_per_epoch",
    "take_batch",
    "take_rows",
]
