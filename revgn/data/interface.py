"""Interface of a network: the inputs that it expects and the meaning of its outputs, without any rows."""

from dataclasses import dataclass, fields

from revgn.data.dataset import Dataset, HostArray, ImageShape, Task


@dataclass(frozen=True, slots=True, eq=False)
class Interface:
    """Description of a data set without its rows; the fields are those of `Dataset`.

    For raw inputs x (n, d), the input of the network is (x - shift) * scale. If the targets were
    standardized, an output z corresponds to the prediction z / target_scale + target_shift.
    """

    name: str
    task: Task
    shift: HostArray  # (d,) float64
    scale: HostArray  # (d,)
    image_shape: ImageShape | None  # images are flattened channels first
    classes: tuple[str, ...]  # for a regression the names of the target columns
    columns: tuple[str, ...]  # names of the d input columns; empty if the data have no names
    target_names: tuple[str, ...]
    target_shift: HostArray | None  # (c,) float64; None: targets are not standardized
    target_scale: HostArray | None  # (c,)


def interface_of(dataset: Dataset) -> Interface:
    """Return the description of a data set, without its rows.

    Examples
    --------
    >>> from revgn.data import load_dataset
    >>> interface_of(load_dataset("auto-mpg")).target_names
    ('mpg',)
    """
    return Interface(**{field.name: getattr(dataset, field.name) for field in fields(Interface)})
