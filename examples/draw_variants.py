"""Draw test and training accuracy of a sweep's variants, against epochs and against wall-clock time.

revgn sweep examples/fashion.toml --workers 1 --out runs/fashion
python examples/draw_variants.py runs/fashion fashion
"""

import sys
from pathlib import Path

from revgn import Group, draw_curves, open_runs

folder, name = sys.argv[1:]
runs = open_runs(folder)
variants = dict.fromkeys(run.folder.name.split("_")[0] for run in runs)
groups = [
    Group(
        variant.replace("-", " "), {}, tuple(run for run in runs if run.folder.name.split("_")[0] == variant)
    )
    for variant in variants
]
for axis in ("epoch", "seconds"):
    draw_curves(runs, Path(f"{name}-{axis}.png"), axis=axis, what=["accuracy"], groups=groups)
    print(f"{name}-{axis}.png")
