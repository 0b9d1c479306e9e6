"""A data set as a setting."""

from typing import Literal, TypeAlias

from revgn.structs import setting, struct

TaskChoice: TypeAlias = Literal["auto", "classification", "regression"]


@struct
class DataSettings:
    """Data set, and the rows of it that are used."""

    name: str = setting(
        "Data set: one that the package ships or knows, or an .npz, .h5 or .csv file.",
        default="digits",
        resumable=True,
    )
    folder: str | None = setting("Folder of the data set's files.", default=None, resumable=True)
    subset: int | None = setting("Training rows, drawn at random; by default all.", default=None, ge=1)
    subset_seed: int | None = setting(
        "Seed of the subset; by default the first rows are taken.", default=None, ge=0
    )
    inputs: str | None = setting("Inputs in an .npz (key) or .h5 file (path).", default=None)
    targets: str | None = setting("Targets in an .npz or .h5 file.", default=None)
    test_inputs: str | None = setting("Test inputs in an .npz or .h5 file.", default=None)
    test_targets: str | None = setting("Test targets in an .npz or .h5 file.", default=None)
    target: str | None = setting("Target column of a .csv file; several with commas.", default=None)
    task: TaskChoice = setting("Kind of targets.", default="auto")
    test_fraction: float = setting(
        "Share of the rows that becomes the test set, where the file has none.", default=0.2, gt=0, lt=1
    )
    validation: float = setting(
        "Share of the training rows held out, by which the best weights are then chosen.",
        default=0.0,
        ge=0,
        lt=1,
    )
    standardize_targets: bool = setting(
        "Fit standardized regression targets; losses are then in units of their variance.", default=False
    )
    crop: bool = setting("Train on random crops of the images, resized (RandomResizedCrop).", default=False)
