"""The estimate of a step's time beside the time it takes, by solver and batch, on Fashion-MNIST.

    python tests/bench/bench_estimate.py [--steps 4] [--set network.hidden=1024]

Prints the solver that `--solver auto` would choose, and the times that show whether it was the faster one.
"""

import argparse

from revgn.errors import DataError
from revgn.settings import build_config, parse_assignment, settings_by_name
from revgn.training import StepDone, build_problem, choose_solver, initial_state, load_data, train


def seconds_a_step(problem, steps):
    """Shortest time of a step in seconds, the first one aside, and the iterations of the last step."""
    found = []
    for event in train(problem, initial_state(problem)):
        if isinstance(event, StepDone):
            found.append(event.record)
            if len(found) == steps:
                break
    return min(record["seconds"] for record in found[1:] or found), found[-1].get("cg_iterations", 0)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    own = settings_by_name(dict(map(parse_assignment, arguments.set)))
    for n in arguments.batches:
        solver = {"damping": 0.1, "outputs": "centered-logits"}
        base = {
            "data": {"name": "fashion-mnist"},
            "network": {"blocks": 3},
            "optimizer": {"solver": {"kind": "auto"} | solver},
            "training": {"batch_size": n, "measure_every": 0},
        }
        config = build_config(own, base)
        try:
            dataset = load_data(config)
        except DataError as error:
            raise SystemExit(f"bench_estimate: {error}") from None
        _, estimates = choose_solver(config, dataset)
        print(f"batch {n}: auto takes {next(iter(estimates))}")
        for name, estimate in estimates.items():
            chosen = {"optimizer": {"solver": {"kind": name} | solver}}
            problem = build_problem(build_config(chosen, own, base), dataset)
            seconds, iterations = seconds_a_step(problem, arguments.steps)
            print(
                f"  {name:<12} estimate {estimate.seconds_per_step:7.3f} s   measured {seconds:7.3f} s   "
                f"ratio {seconds / estimate.seconds_per_step:.2f}   iterations {iterations:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
