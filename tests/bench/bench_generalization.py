"""Test accuracy of each optimizer after the same passes over Fashion-MNIST, and at equal time.

    python tests/bench/bench_generalization.py [--epochs 3] [--batch 256] [--seeds 3] [--only muon adamw]

Three blocks, 512 features, cosine rate; each method with the best settings that were found for it (batch 256,
three epochs; others by `--set`). Prints, a line a method, the mean test accuracy after each epoch with its
spread over the seeds, and the seconds spent in steps.
"""

import argparse
import statistics

from revgn.errors import DataError
from revgn.training import (
    Evaluated,
    build_config,
    build_problem,
    initial_state,
    load_data,
    merge_settings,
    parse_assignment,
    train,
)

MINIMUM_NORM = {"name": "gauss-newton", "outputs": "contrasts", "lr": 0.5, "damping": 0.1}
METHODS = {
    "minimum norm, carry": MINIMUM_NORM | {"carry": 0.95},
    "minimum norm": MINIMUM_NORM,
    "muon": {"name": "muon", "lr": 0.014},
    "kfac": {"name": "kfac", "lr": 0.01, "damping": 0.01},
    "adamw": {"name": "adam", "lr": 0.003, "weight_decay": 0.01},
    "sgd": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
}


def accuracies(settings, dataset):
    """Test accuracy after each evaluation but the first, and the seconds of all steps."""
    problem = build_problem(build_config(settings), dataset)
    found, seconds = [], 0.0
    for event in train(problem, initial_state(problem)):
        if isinstance(event, Evaluated) and event.record["step"]:
            found.append(100 * event.record["test_accuracy"])
            seconds = event.record["seconds"]
    return found, seconds


def main():
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    base = {
        "data": {"name": "fashion-mnist"},
        "network": {"blocks": 3, "hidden": 512},
        "optimizer": {"schedule": "cosine"},
        "training": {"epochs": arguments.epochs, "batch_size": arguments.batch, "measure_every": 0},
    }
    own = merge_settings(*map(parse_assignment, arguments.set))
    try:
        dataset = load_data(build_config(base))
    except DataError as error:
        raise SystemExit(f"bench_generalization: {error}") from None
    for name in arguments.only:
        runs = []
        for seed in range(arguments.seeds):
            settings = merge_settings(own, {"optimizer": METHODS[name]}, {"training": {"seed": seed}}, base)
            runs.append(accuracies(settings, dataset))
        curves = zip(*(run[0] for run in runs), strict=True)
        shown = "  ".join(
            f"{statistics.mean(column):.2f} ({min(column):.2f}-{max(column):.2f})" for column in curves
        )
        print(f"{name:<22} {shown}   {statistics.median(run[1] for run in runs):.0f} s", flush=True)


if __name__ == "__main__":
    main()
