"""Settings of the data set."""

from typing import Literal, TypeAlias

from revgn.errors import UsageError
from revgn.structs import FieldError, setting, struct

TaskChoice: TypeAlias = Literal["auto", "classification", "regression"]
LayoutChoice: TypeAlias = Literal["auto", "channels-first", "channels-last"]
Augmentation: TypeAlias = Literal["none", "resized-crop", "pad-crop-flip"]


@struct
class DataSettings:
    """Data set, and the samples of it that are used."""

    name: str = setting(
        "Data set: a name that `revgn data` lists, an .npz, .h5 or .csv file, or a folder of images.",
        default="digits",
        resumable=True,
    )
    folder: str | None = setting(
        "Folder of the data files; by default $REVGN_DATA, else revgn in the user's cache folder.",
        default=None,
        resumable=True,
    )
    subset: int | None = setting("Number of training samples used; by default all.", default=None, ge=1)
    subset_seed: int | None = setting(
        "Seed for drawing the subset at random; by default the first samples are used.", default=None, ge=0
    )
    inputs: str | None = setting(
        "Key of the inputs in an .npz file, or their path in an .h5 file; by default found by usual names.",
        default=None,
    )
    targets: str | None = setting(
        "Key or path of the targets; by default found by usual names.", default=None
    )
    test_inputs: str | None = setting(
        "Key or path of the inputs of the test set; by default found by usual names.", default=None
    )
    test_targets: str | None = setting(
        "Key or path of the targets of the test set; by default found by usual names.", default=None
    )
    layout: LayoutChoice = setting(
        "Axes of images in a file: (n, channels, height, width) or (n, height, width, channels); auto infers "
        "them from the sizes.",
        default="auto",
    )
    target: str | None = setting(
        "Target column of a .csv file; several are separated by commas.", default=None
    )
    columns: str | None = setting(
        "Input columns of a .csv file, separated by commas; with a minus sign before each name, all columns "
        "except these.",
        default=None,
    )
    separator: str | None = setting(
        "Separator of the cells of a .csv file: a character, tab or space; by default detected.", default=None
    )
    decimal: Literal[".", ","] | None = setting(
        "Decimal point or comma of a .csv file; by default detected.", default=None
    )
    drop_missing: bool = setting(
        "Leave out rows with missing values; by default they are an error.", default=False
    )
    task: TaskChoice = setting("Task; auto infers it from the targets.", default="auto")
    test_fraction: float = setting(
        "Fraction of the samples used as the test set if the file or folder has no test set.",
        default=0.2,
        gt=0,
        lt=1,
    )
    validation: float = setting(
        "Fraction of the training set held out for validation, to select the best weights.",
        default=0.0,
        ge=0,
        lt=1,
    )
    standardize_targets: bool = setting(
        "Standardize regression targets; the loss is then in units of their variance.",
        default=False,
        chosen=True,
    )
    augmentation: Augmentation = setting(
        "Random changes of training images: resized-crop (RandomResizedCrop), or pad-crop-flip (shifts by up "
        "to 4 pixels, and horizontal flips).",
        default="none",
    )

    def check(self) -> None:
        """Refuse an empty name, which would be the current folder."""
        if not self.name:
            raise FieldError("DataSettings", "name", "is empty; give a data set, a file or a folder")


def refuse_settings(wanted: DataSettings, names: tuple[str, ...], kind: str) -> None:
    """Raise `UsageError` for a setting that has no effect on this kind of data."""
    for name in names:
        if getattr(wanted, name) != getattr(DataSettings(), name):
            raise UsageError(f"{name}: has no effect, since {wanted.name} is {kind}")
