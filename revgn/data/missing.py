"""Missing values: rows that have them are left out if the settings say so; otherwise they are an error."""

from collections.abc import Callable, Sequence

import numpy as np

from revgn.data.dataset import HostArray
from revgn.errors import DataError

_NAMED_COLUMNS = 4  # number of columns that a message names


def complete_rows(
    missing: HostArray,
    names: Sequence[str],
    where: str,
    place: Callable[[int], str],
    *,
    drop: bool,
    advice: str = "",
) -> tuple[HostArray, str]:
    """Return which rows are complete, and a note on the others; "" if all rows are.

    Parameters
    ----------
    missing : bool array (n, k)
        The values that are missing.
    names : sequence of str
        Names of the k columns.
    place : callable
        Returns the place of a row in the file, in words.
    drop : bool
        Whether rows may be left out.
    advice : str
        Further advice for the error message.

    Raises
    ------
    DataError
        If values are missing and rows may not be left out, or if no row is complete.
    """
    complete: HostArray = np.logical_not(missing.any(axis=1))
    count, n = int((~complete).sum()), complete.size
    if not count:
        return complete, ""
    counts = missing.sum(axis=0)
    worst = [int(k) for k in np.argsort(-counts, kind="stable")[:_NAMED_COLUMNS] if counts[k]]
    listed = ", ".join(f"{counts[k]} in {names[k]}" for k in worst)
    listed += ", ..." if np.count_nonzero(counts) > len(worst) else ""
    first = int(np.argmin(complete))
    if not drop:
        column = names[int(np.argmax(missing[first]))]
        raise DataError(
            f"{where}: values are missing in {count} of {n} rows ({listed}), first in {place(first)}, "
            f"{column}; set drop_missing to leave these rows out{advice}"
        )
    if not complete.any():
        raise DataError(f"{where}: no row is complete; missing values by column: {listed}")
    return complete, f"{count} of {n} rows are left out, since they have missing values ({listed})"
