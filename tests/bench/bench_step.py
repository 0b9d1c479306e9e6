"""Steps of Adam, the block inverse and the minimum norm on the paper's MNIST network, side by side.

    python tests/bench/bench_step.py [--backend auto|numpy|cupy] [--rounds 3] [--batch 1024]

Prints for each the median and spread of a whole step, its ratio to Adam's in the same round, the
floating-point work counted, and the share reached of the speed of a large matrix product measured in the
same round. Real images where Fashion-MNIST is here.
"""

import argparse
import statistics
from time import perf_counter

from revgn.arrays import device_name, synchronize
from revgn.data import take_batch
from revgn.errors import DataError
from revgn.training import build_config, build_problem, estimate_step, initial_state, load_data, train_step

EXACT = {"name": "gauss-newton", "inverse": "block", "shares": "full-rank", "rtol": None, "atol": 0.0}
MINIMUM_NORM = {"name": "gauss-newton", "inverse": "minimum-norm", "damping": 0.01}
STEPS = {
    "adam": {"name": "adam"},
    "block": EXACT,
    "block as in the paper": {"name": "gauss-newton", "inverse": "block"},
    "minimum norm": MINIMUM_NORM,
    "minimum norm, contrasts": MINIMUM_NORM | {"outputs": "contrasts"},
}


def problems(arguments):
    """One problem for each kind of step, on the same data and network."""
    dataset = None
    for name, optimizer in STEPS.items():
        training = {"batch_size": arguments.batch, "backend": arguments.backend}
        layers = {"preset": "paper-mnist", "optimizer": optimizer, "training": training}
        config = build_config({**layers, "data": {"name": "fashion-mnist"}})
        dataset = dataset or load_data(config)
        yield name, build_problem(config, dataset)


def ceiling(problem):
    """Operations per second of the network's dominant product, (n, d/2) by (d/2, h)."""
    C = problem.network.body.layers[-1].projection
    x = problem.backend.xp.ones(
        (problem.batch_size, C.shape[0]), dtype=C.dtype, device=problem.backend.device
    )
    synchronize(x @ C)
    started = perf_counter()
    for _ in range(10):
        y = x @ C
    synchronize(y)
    return 10 * 2.0 * x.shape[0] * C.shape[0] * C.shape[1] / (perf_counter() - started)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1024)
    arguments = parser.parse_args()
    try:
        cases = dict(problems(arguments))
    except DataError as error:
        raise SystemExit(f"bench_step: {error}") from None
    seconds = {name: [] for name in cases}
    speeds = []
    states = {name: initial_state(problem) for name, problem in cases.items()}
    for round_ in range(arguments.rounds + 1):  # the first warms up
        for name, problem in cases.items():
            rows = slice(round_ * problem.batch_size, (round_ + 1) * problem.batch_size)
            train = problem.dataset.train
            batch = take_batch(problem.dataset, train, rows, problem.backend, problem.dtype)
            states[name], record = train_step(problem, states[name], batch)
            if round_:
                seconds[name].append(record["seconds"])
        if round_:
            speeds.append(ceiling(cases["adam"]))
    speed = statistics.median(speeds)
    print(f"{device_name(cases['adam'].backend)}; n {arguments.batch}, d 784, h 8000, 2 blocks, float32")
    print(f"ceiling {speed / 1e9:.0f} GFLOP/s")
    for name, problem in cases.items():
        work = sum(estimate_step(problem).work.values())
        middle = statistics.median(seconds[name])
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds["adam"], strict=True))
        print(
            f"{name:<24} {middle:7.3f} s ({min(seconds[name]):.3f}-{max(seconds[name]):.3f})  "
            f"{ratio:6.2f} x adam  {work / 1e9:7.1f} GFLOP  {work / middle / speed:4.0%} of the ceiling"
        )


if __name__ == "__main__":
    main()
