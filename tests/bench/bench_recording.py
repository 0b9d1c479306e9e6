"""The cost of recording: the time of steps with a run folder, compared with steps without one.

    python tests/bench/bench_recording.py [--milliseconds 20] [--steps 400] [--rounds 5]

The batch size is chosen so that a step takes about the given number of milliseconds. Each round times the
same steps twice: in a loop that stores nothing, and in a run whose records are written to the journal, with a
snapshot every two seconds. The order changes from round to round. Prints both times per step, the median and
range of their ratio, and the time spent within the calls that record, which varies less on a busy machine.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

from revgn.launch import start_run
from revgn.settings import build_config
from revgn.store.writer import RunWriter
from revgn.training import StepDone, build_problem, initial_state, load_data, train


def config_of(batch, steps):
    """Settings of a step of Gauss-Newton by the block step, evaluated before the first and after the last."""
    return build_config(
        {
            "network": {"hidden": 512},
            "optimizer": {"kind": "gauss-newton", "solver": {"kind": "block", "damping": 0.1}, "lr": 0.01},
            "training": {"batch_size": batch, "steps": steps, "eval_every": steps, "measure_every": 0},
        }
    )


def without(problem):
    """Seconds of the loop between the first step and the last, without a run folder."""
    began = ended = 0.0
    for event in train(problem, initial_state(problem)):
        if isinstance(event, StepDone):
            ended = perf_counter()
            began = began or ended
    return ended - began


def timed(method, spent):
    """Return the method, changed so that it appends the seconds of each call to `spent`."""

    def call(*arguments, **options):
        began = perf_counter()
        try:
            return method(*arguments, **options)
        finally:
            spent.append(perf_counter() - began)

    return call


def recorded(config, spent):
    """Seconds of the same steps with a run folder; the seconds of each call that records go to `spent`."""
    times = []
    methods = {name: timed(getattr(RunWriter, name), spent) for name in ("record_step", "snapshot_if_due")}

    def observe(problem, event):
        if isinstance(event, StepDone):
            times.append(perf_counter())

    with tempfile.TemporaryDirectory() as folder, patch.multiple(RunWriter, **methods):
        start_run(config, Path(folder) / "run", observe=observe)
    return times[-1] - times[0]


def main():
    """Print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--milliseconds", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    batch = 32
    while batch < 1400:
        problem = build_problem(config_of(batch, 12), load_data(config_of(batch, 12)))
        if min(without(problem) for _ in range(3)) / 11 >= arguments.milliseconds / 1e3:
            break
        batch = int(batch * 1.25)
    config = config_of(batch, arguments.steps)
    problem = build_problem(config, load_data(config))
    ratios, plain, kept, spent = [], [], [], []
    for number in range(arguments.rounds):
        first = without(problem) if number % 2 else recorded(config, spent)
        second = recorded(config, spent) if number % 2 else without(problem)
        a, b = (first, second) if number % 2 else (second, first)
        plain.append(a)
        kept.append(b)
        ratios.append(b / a)
    a_step = 1e3 / (arguments.steps - 1)
    print(
        f"batch {batch}: {statistics.median(plain) * a_step:.2f} ms a step, recorded "
        f"{statistics.median(kept) * a_step:.2f} ms: {100 * (statistics.median(ratios) - 1):+.2f} % "
        f"({100 * (min(ratios) - 1):+.2f} to {100 * (max(ratios) - 1):+.2f}) over {arguments.rounds} rounds"
    )
    inside = sum(spent) / (arguments.rounds * arguments.steps)
    share = inside / (statistics.median(plain) / (arguments.steps - 1))
    print(f"within the calls that record: {1e3 * inside:.3f} ms a step, {share:.2%} of it")


if __name__ == "__main__":
    main()
