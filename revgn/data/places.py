"""Locations of the known data sets: the data folder, Debian's folder, and download addresses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from revgn.data.cifar import BINARY, PICKLED
from revgn.data.dataset import Task
from revgn.errors import DataError, UsageError

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_ZIPPED = tuple(f"{name}.gz" for name in IDX_FILES)


@dataclass(frozen=True, slots=True)
class Known:
    """A known data set: its files, sizes and source."""

    forms: tuple[tuple[str, ...], ...]  # alternative sets of files, each with the whole data set
    shape: tuple[
        int, ...
    ]  # shape of a sample: channels, height and width, or the number of columns of a table
    rows: tuple[int, ...]  # rows of the training and the test set, or of both if a shuffle divides them
    credit: str
    url: str
    classes: tuple[str, ...] = ()
    target: str = ""  # target column of a table
    task: Task = "classification"
    sha256: str = ""  # `Dataset.checksum` of a data set that ships with the package
    md5: Mapping[str, str] = field(default_factory=dict)  # checksums of the files to download from `url`
    folders: tuple[Path, ...] = ()  # searched after the data folder
    advice: str = ""


_DIGITS = tuple(map(str, range(10)))
_GARMENTS = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_THINGS = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"

KNOWN: Mapping[str, Known] = {
    "digits": Known(
        forms=(_ZIPPED,),
        shape=(1, 8, 8),
        rows=(1437, 360),
        classes=_DIGITS,
        credit="UCI Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak), CC BY 4.0",
        url="https://doi.org/10.24432/C50P49",
        sha256="d3aaf5380a280d95956836437058b5e3e6a6c376e6b26386b5780835077a75d2",
        folders=(Path(str(files("revgn.data.digits"))),),
    ),
    "auto-mpg": Known(
        forms=(("auto-mpg.csv",),),
        shape=(7,),
        rows=(392,),
        target="mpg",
        task="regression",
        credit="UCI Auto MPG (R. Quinlan), CC BY 4.0",
        url="https://doi.org/10.24432/C5859H",
        sha256="09f80d81905df241c096b7b85eb19fc42a4e8f137d07b39cb89146616212eb28",
        folders=(Path(str(files("revgn.data.auto_mpg"))),),
    ),
    "fashion-mnist": Known(
        forms=(_ZIPPED, IDX_FILES),
        shape=(1, 28, 28),
        rows=(60000, 10000),
        classes=tuple(_GARMENTS.split(",")),
        credit="Fashion-MNIST (Zalando Research), MIT",
        url="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        folders=(Path("/usr/share/datasets/fashion-mnist"),),
        advice=", or as the Debian package dataset-fashion-mnist",
    ),
    "mnist": Known(
        forms=(_ZIPPED, IDX_FILES),
        shape=(1, 28, 28),
        rows=(60000, 10000),
        classes=_DIGITS,
        credit="MNIST (Y. LeCun, C. Cortes, C. Burges)",
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "cifar10": Known(
        forms=(BINARY, PICKLED, ("cifar-10-binary.tar.gz",), ("cifar-10-python.tar.gz",)),
        shape=(3, 32, 32),
        rows=(50000, 10000),
        classes=tuple(_THINGS.split(",")),
        credit="CIFAR-10 (A. Krizhevsky, V. Nair, G. Hinton)",
        url="https://www.cs.toronto.edu/~kriz/",
        md5={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
}


def dataset_names() -> tuple[str, ...]:
    """Return the names of the known data sets, for `load_dataset`."""
    return tuple(KNOWN)


def find_files(name: str, folder: str | None = None) -> tuple[Path, ...]:
    """Return the files of a known data set, from the first folder that has them all; empty if none has.

    Parameters
    ----------
    folder : str
        The data folder. By default it is the environment variable REVGN_DATA or, if that is not set, the
        folder revgn in the user's cache. Files are searched in its subfolder `name`.
    """
    for place in _places(name, folder):
        for form in _known(name).forms:
            paths = tuple(place / file for file in form)
            if all(path.is_file() for path in paths):
                return paths
    return ()


def fetch(name: str, folder: str | None = None) -> tuple[Path, ...]:
    """Return the files of a known data set; download them to the data folder if they are not on this machine.

    Raises
    ------
    DataError
        If the download fails. The message names the missing files, the folders searched, and the source.
    """
    if found := find_files(name, folder):
        return found
    try:
        import pooch
    except ImportError:
        raise missing(name, folder, "pooch is not installed (pip install 'revgn[data]')") from None
    known, place = _known(name), _places(name, folder)[0]
    try:
        for file, md5 in known.md5.items():
            pooch.retrieve(known.url + file, f"md5:{md5}", fname=file, path=place)
    except ValueError:
        raise missing(name, folder, "the downloaded file is not the published one (MD5)") from None
    except OSError:
        raise missing(name, folder, "the download failed; is there a connection to the internet?") from None
    if found := find_files(name, folder):
        return found
    raise missing(name, folder, "the download is incomplete")


def missing(name: str, folder: str | None, reason: str) -> DataError:
    """Return the error for missing files, which names the files and their source."""
    known, places = _known(name), _places(name, folder)
    absent = [file for file in known.md5 or known.forms[0] if not (places[0] / file).is_file()]
    return DataError(
        f"{name}: {', '.join(absent)} not found; looked in {', '.join(map(str, places))}; {reason}; "
        f"available from {known.url}{known.advice}"
    )


def _known(name: str) -> Known:
    if name not in KNOWN:
        raise UsageError(f"data: {name!r} is not one of {', '.join(KNOWN)}")
    return KNOWN[name]


def _places(name: str, folder: str | None) -> tuple[Path, ...]:
    """Return the folders that may hold the files of a data set, the data folder first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "revgn"
    root = Path(folder or os.environ.get("REVGN_DATA") or cache)
    return root / name, *_known(name).folders
