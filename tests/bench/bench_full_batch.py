"""Full batch, cross-entropy: steps and seconds to a training loss of 1e-3 and 1e-6.

    python tests/bench/bench_full_batch.py [--rows 256] [--dtype float64] [--most 300] [--only lbfgs ...]

Compares the exact curvature with Levenberg-Marquardt damping, the identity as curvature, L-BFGS, and Adam at
three learning rates, on the first images of Fashion-MNIST, with two blocks of 1024 features.
"""

import argparse

from revgn.errors import DataError, RunError
from revgn.settings import build_config
from revgn.training import StepDone, build_problem, initial_state, load_data, train

CG = {"kind": "cg", "damping": 1.0, "preconditioner": {"kind": "blocks", "directions": 0}}


def levenberg_marquardt(solver):
    """Settings with the exact curvature."""
    return {"kind": "levenberg-marquardt", "inner": {"curvature": "exact", "solver": solver}}


METHODS = {
    "exact curvature, adapted damping": levenberg_marquardt({"kind": "minimum-norm", "damping": 1.0}),
    "the same by cg": levenberg_marquardt(CG),
    "identity for curvature, lr 2": {"kind": "gauss-newton", "lr": 2.0},
    "lbfgs": {"kind": "lbfgs"},
    "adam 1e-3": {"kind": "adam", "lr": 1e-3},
    "adam 3e-3": {"kind": "adam", "lr": 3e-3},
    "adam 1e-2": {"kind": "adam", "lr": 1e-2},
}
GOALS = (1e-3, 1e-6)


def main():
    """Print a line for each method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--most", type=int, default=300)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    arguments = parser.parse_args()
    base = {
        "data": {"name": "fashion-mnist", "subset": arguments.rows},
        "network": {"blocks": 2, "hidden": 1024},
    }
    training = {
        "batch_size": "full",
        "steps": arguments.most,
        "dtype": arguments.dtype,
        "measure_every": 0,
        "eval_every": arguments.most,
    }
    for name in arguments.only:
        config = build_config({**base, "optimizer": METHODS[name], "training": training})
        try:
            problem = build_problem(config, load_data(config))
        except DataError as error:
            raise SystemExit(f"bench_full_batch: {error}") from None
        seconds, reached = 0.0, {}
        try:
            for event in train(problem, initial_state(problem)):
                if not isinstance(event, StepDone):
                    continue
                loss = event.record["loss"]  # before the step
                for goal in GOALS:
                    if loss < goal and goal not in reached:
                        reached[goal] = f"{event.record['step'] - 1} steps, {seconds:.1f} s"
                seconds += event.record["seconds"]
                if len(reached) == len(GOALS):
                    break
        except RunError as error:
            print(f"{name}: {error}")
        shown = "   ".join(
            f"{goal:g}: {reached.get(goal, f'not in {arguments.most} steps')}" for goal in GOALS
        )
        print(f"{name:<34} {shown}   (last loss {loss:.1e}, {seconds:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
