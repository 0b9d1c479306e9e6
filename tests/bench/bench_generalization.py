"""Test accuracy of each optimizer on Fashion-MNIST: after the same epochs, and at equal time.

    python tests/bench/bench_generalization.py [--epochs 3] [--batch 256] [--seeds 3] [--only muon adamw]
    python tests/bench/bench_generalization.py --budget 20 60 180
    python tests/bench/bench_generalization.py --epochs 1 --batch 64 256 1024 4096 --rates 0.5 1 2

Three blocks, 512 features, cosine schedule; each method with the best settings that were found for it
(batch 256, three epochs; others by `--set`). Prints a line for each method: the mean test accuracy after each
epoch with its range over the seeds, and the seconds spent in steps. With a budget, each method takes as many
steps as fit into the seconds, and the cosine schedule ends with the last of them. With several factors for
the learning rate, only the best line of each method is printed.
"""

import argparse
import statistics

from revgn.errors import DataError
from revgn.settings import build_config, merge_settings, parse_assignment, settings_by_name
from revgn.training import DivergedError, Evaluated, StepDone, build_problem, initial_state, load_data, train

SOLVER = {"damping": 0.1, "outputs": "centered-logits"}
LARGE = 256  # batches from here on are solved by conjugate gradients
CALIBRATED = 6  # steps that are timed, to convert a budget into a number of steps


def methods(batch, factor):
    """Settings of each method's optimizer, its learning rate times a factor."""
    solver = {"kind": "cg", "tolerance": 1e-2} if batch >= LARGE else {"kind": "minimum-norm"}
    plain = {"kind": "gauss-newton", "lr": 0.5 * factor, "solver": solver | SOLVER}
    momentum = plain | {"momentum": 0.95}
    return {
        "orthogonalized": {
            "kind": "orthogonalized",
            "momentum": 0.0,
            "inner": momentum | {"lr": 0.014 * factor},
        },
        "momentum, metric": momentum | {"metric": {"kind": "features"}},
        "momentum": momentum,
        "minimum norm": plain,
        "muon": {"kind": "muon", "lr": 0.014 * factor},
        "kfac": {"kind": "kfac", "lr": 0.01 * factor, "damping": 0.01},
        "adamw": {"kind": "adam", "lr": 0.003 * factor, "weight_decay": 0.01},
        "sgd": {"kind": "sgd", "lr": 0.1 * factor, "momentum": 0.9},
    }


def accuracies(problem):
    """Test accuracy after each evaluation but the first, and the seconds of all steps; [] if it diverged."""
    found, seconds = [], 0.0
    try:
        for event in train(problem, initial_state(problem)):
            if isinstance(event, Evaluated) and event.record["step"]:
                found.append(100 * event.record["test_accuracy"])
                seconds = event.record["seconds"]
    except DivergedError:
        return [], seconds
    return found, seconds


def steps_in(problem, budget):
    """Number of steps that fit into `budget` seconds."""
    seconds = []
    for event in train(problem, initial_state(problem)):
        if isinstance(event, StepDone):
            seconds.append(event.record["seconds"])
            if len(seconds) == CALIBRATED:
                break
    return max(int(budget / statistics.median(seconds[1:])), 1)


def line(settings, dataset, seeds, budget):
    """Return the mean test accuracy at the end, and the text to print."""
    runs = []
    for seed in range(seeds):
        problem = build_problem(build_config({"training": {"seed": seed}}, settings), dataset)
        if budget is not None:
            steps = {"steps": steps_in(problem, budget), "eval_every": 10**9}
            problem = build_problem(build_config({"training": {"seed": seed} | steps}, settings), dataset)
        runs.append((*accuracies(problem), problem.total_steps / problem.steps_per_epoch))
    if not all(run[0] for run in runs):
        return 0.0, "diverged"
    shown = "  ".join(
        f"{statistics.mean(column):.2f} ({min(column):.2f}-{max(column):.2f})"
        for column in zip(*(run[0] for run in runs), strict=True)
    )
    seconds, epochs = (statistics.median(run[k] for run in runs) for k in (1, 2))
    return statistics.mean(run[0][-1] for run in runs), f"{shown}   {epochs:.2f} epochs, {seconds:.0f} s"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[256])
    parser.add_argument("--budget", type=float, nargs="+", default=[None], metavar="SECONDS")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[1.0], help="factors for each method's learning rate"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=methods(1, 1.0), default=methods(1, 1.0))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    base = {
        "data": {"name": "fashion-mnist"},
        "network": {"blocks": 3, "hidden": 512},
        "training": {"schedule": {"kind": "cosine"}, "epochs": arguments.epochs, "measure_every": 0},
    }
    own = settings_by_name(dict(map(parse_assignment, arguments.set)))
    try:
        dataset = load_data(build_config(own, base))
    except DataError as error:
        raise SystemExit(f"bench_generalization: {error}") from None
    for batch in arguments.batch:
        for budget in arguments.budget:
            title = f"batch {batch}" + ("" if budget is None else f", {budget:g} s of steps")
            print(title, flush=True)
            for name in arguments.only:
                found = []
                for factor in arguments.rates:
                    optimizer = {"optimizer": methods(batch, factor)[name]}
                    settings = merge_settings(own, optimizer, {"training": {"batch_size": batch}}, base)
                    accuracy, text = line(settings, dataset, arguments.seeds, budget)
                    found.append((accuracy, f"{text}, {factor:g} times its lr"))
                print(f"  {name:<14} {max(found)[1]}", flush=True)


if __name__ == "__main__":
    main()
