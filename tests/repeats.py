"""The results that two runs with the same settings must have in common."""

from pathlib import Path
from typing import Any

from revgn.store import EPOCH_SERIES, STEP_SERIES, latest_checkpoint, open_run


def repeats(folder: Path) -> dict[str, Any]:
    """Status, step and arrays of the last checkpoint, and every deterministic series, as bytes by name."""
    run = open_run(folder)
    names = {"step", "epoch"}
    names |= {series.name for series in (*STEP_SERIES, *EPOCH_SERIES) if series.deterministic}
    checkpoint, passed_over = latest_checkpoint(folder)
    assert passed_over == []
    columns = {
        f"{group}/{name}": column.tobytes()
        for group, columns in (("steps", run.steps), ("epochs", run.epochs))
        for name, column in columns.items()
        if name in names
    }
    arrays = {name: array.tobytes() for name, array in checkpoint.arrays.items() if name != "seconds"}
    return columns | arrays | {"status": run.status, "step": checkpoint.step}
