"""Draw the test accuracy of a sweep's variants, against epochs and against wall-clock time.

revgn sweep examples/fashion.toml --workers 1 --out runs/fashion
python examples/draw_variants.py runs/fashion fashion
"""

import sys
from pathlib import Path

from revgn import Group, draw_curves, open_runs

PROPER = {"adamw": "AdamW", "muon": "Muon", "sgd": "SGD"}


def variant_of(run):
    return run.folder.name.split("_")[0]


folder, name = sys.argv[1:]
runs = open_runs(folder)
groups = [
    Group(
        " ".join(PROPER.get(word, word) for word in variant.split("-")),
        {},
        tuple(run for run in runs if variant_of(run) == variant),
    )
    for variant in dict.fromkeys(map(variant_of, runs))
]
for axis in ("epoch", "seconds"):
    draw_curves(runs, Path(f"{name}-{axis}.png"), axis=axis, what=["test_accuracy"], groups=groups)
    print(f"{name}-{axis}.png")
