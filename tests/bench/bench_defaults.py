"""The chosen defaults against tuned settings: test accuracy, or RMSE in units of the target, over seeds.

    python tests/bench/bench_defaults.py --data digits auto-mpg fashion-mnist [--seeds 5] [--set KEY=VALUE]

Learning rate and damping are tuned on the first seed by 3 x 3 runs, on a fifth of the training rows, held
out. The default, the tuned setting and the damping by leave-one-out are then run on all seeds. Prints a
line for each: the mean over the seeds with its standard error, and the milliseconds of a step.
"""

import argparse
import math
import statistics

from revgn.settings import merge_settings, parse_assignment, settings_by_name
from revgn.training import DivergedError, build_problem, choose_defaults, initial_state, train

RATES = (0.17, 0.5, 1.5)
DAMPINGS = (0.03, 0.1, 0.3)


def trained(settings, seed):
    """Scores on the validation and test sets (larger is better), and the milliseconds of a step."""
    quiet = {"seed": seed, "measure_every": 0, "eval_every": 10**9}
    config, dataset, _ = choose_defaults(merge_settings({"training": quiet}, settings))
    problem = build_problem(config, dataset)
    try:
        *_, event = train(problem, initial_state(problem))
    except DivergedError:
        return -math.inf, -math.inf, math.nan
    last = event.record
    milliseconds = 1e3 * last["seconds"] / last["step"]
    if dataset.task == "classification":
        return 100 * last["validation_accuracy"], 100 * last["test_accuracy"], milliseconds
    unit = 1 / float(dataset.target_scale[0])
    return -unit * last["validation_loss"] ** 0.5, -unit * last["test_loss"] ** 0.5, milliseconds


def tuned(settings):
    """The learning rate and damping of the best of 3 x 3 runs."""
    grid = [{"lr": lr, "solver": {"damping": mu}} for lr in RATES for mu in DAMPINGS]
    return max(grid, key=lambda optimizer: trained(merge_settings({"optimizer": optimizer}, settings), 0)[0])


def main():
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", default=["digits", "auto-mpg", "fashion-mnist"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    own = settings_by_name(dict(map(parse_assignment, arguments.set)))
    for name in arguments.data:
        settings = merge_settings(
            own, {"data": {"name": name, "validation": 0.2}, "network": {"hidden": 256}}
        )
        best = tuned(settings)
        rows = {
            "default": {},
            f"tuned: lr {best['lr']}, damping {best['solver']['damping']}": best,
            "leave-one-out": {"solver": {"damping": "leave-one-out"}},
        }
        for row, optimizer in rows.items():
            runs = [
                trained(merge_settings({"optimizer": optimizer}, settings), k) for k in range(arguments.seeds)
            ]
            scores = [abs(test) for _, test, _ in runs]
            error = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else math.nan
            spent = statistics.median(each for *_, each in runs)
            print(
                f"{name:<14} {row:<30} {statistics.mean(scores):7.3f} +- {error:.3f} {spent:8.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
