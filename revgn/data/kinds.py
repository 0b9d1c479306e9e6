"""The kind of a data file, by its content."""

import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from revgn.data.dataset import reading
from revgn.data.dialect import GZIP, UTF16
from revgn.errors import DataError

_UNREADABLE = {  # first bytes of unsupported files, and the message
    b"\x93NUMPY": "holds a single array without a name; save inputs and targets with np.savez",
    b"PAR1\x15": "is a Parquet file",
    b"ARROW1\0\0": "is an Arrow file",
    b"SQLite format 3\0": "is an SQLite file",
    b"MATLAB 5.0 MAT-file": "is a MATLAB file of version 5",
    b"\x80": "is a pickle, which could run any code; save its arrays with np.savez",
    b"\xd0\xcf\x11\xe0": "is an Excel file; save it as .csv",
}
_MARKUP = {  # the same for text, after white space and in any case
    b"<!doctype": "is HTML, perhaps the error page of a download",
    b"<html": "is HTML, perhaps the error page of a download",
    b"<?xml": "is XML",
    b"@relation": "is an ARFF file",
}


def kind_of_file(path: Path) -> Literal["table", ".npz", ".h5"]:
    """Return the kind of a file from its content, not its name; an unsupported kind is an error."""
    with reading(path, OSError), path.open("rb") as file:
        head = file.read(1024)
    if found := _unreadable(path, head):
        raise DataError(f"{path}: {found}; expected a .csv, .npz or .h5 file")
    if not head:
        raise DataError(f"{path}: the file is empty")
    if head.startswith(b"PK"):
        with reading(path, OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            if not any(name.endswith(".npy") for name in archive.namelist()):
                raise DataError(f"{path}: is a zip archive without arrays; save a table of Excel as .csv")
        return ".npz"
    if head.startswith(b"\x89HDF"):
        return ".h5"
    if path.suffix.lower() in (".h5", ".hdf5"):  # the signature may follow a user block
        import h5py

        if h5py.is_hdf5(path):
            return ".h5"
    if b"\0" in head and not head.startswith((GZIP, *UTF16)):
        raise DataError(f"{path}: is neither text nor an .npz or .h5 file")
    return "table"


def _unreadable(path: Path, head: bytes) -> str:
    """Return a description of an unsupported file, from its first bytes; "" if it may be readable."""
    text = head.lstrip()
    for known, start in ((_UNREADABLE, head), (_MARKUP, text.lower())):
        for signature, found in known.items():
            if start.startswith(signature):
                return found
    return "is JSON" if text.startswith((b"{", b"[")) and _is_json(path) else ""


def _is_json(path: Path) -> bool:
    """Return whether a file or its first line is JSON; a table, too, may begin with a bracket."""
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        return True
    with reading(path, OSError):
        content = path.read_bytes()
    for part in (content.lstrip().partition(b"\n")[0], content):
        with suppress(ValueError, RecursionError):
            json.loads(part)
            return True
    return False
