"""Draw the first figure of the README: accuracy against epochs and against wall-clock time.

The runs are those of examples/fashion.toml:

revgn sweep examples/fashion.toml --workers 1 --out runs/fashion-curves
python examples/fashion.py runs/fashion-curves
"""

import sys
from pathlib import Path

from revgn import Group, draw_curves, open_runs

LABELS = {  # of the variants in the legend
    "block-inverse": "block step",
    "minimum-norm": "minimum-norm step",
    "minimum-norm-with-carry": "minimum-norm step with momentum",
    "adamw": "AdamW",
}

runs = open_runs(sys.argv[1])
groups = [
    Group(label, {}, tuple(run for run in runs if run.folder.name.startswith(f"{name}_")))
    for name, label in LABELS.items()
]
for axis in ("epoch", "seconds"):
    draw_curves(runs, Path(f"fashion-{axis}.png"), axis=axis, what=["accuracy"], groups=groups)
    print(f"fashion-{axis}.png")
