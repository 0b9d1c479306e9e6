"""Times of steps on the paper's MNIST network, and their growth with its sizes.

    python tests/bench/bench_step.py [--backend auto|numpy|cupy] [--rounds 3] [--batch 1024] [--hidden 8000]
    python tests/bench/bench_step.py --grow batch|hidden|blocks|outputs
    OMP_NUM_THREADS=1 python tests/bench/bench_step.py --busy --batch 128 --hidden 256 [--only adam muon]

Prints for each step the median and spread of its time, its ratio to Adam's in the same round, the
floating-point work counted, the share reached of the speed of a large matrix product measured in the same
round, and the parts of its time: the forward pass, the kernel (or the Gram matrices of features) with its
factorization, the solution, and the update. PyTorch's Adam on the same network is timed as well if torch is
installed. The images are from Fashion-MNIST. With --busy, for a machine that does other work as well, it
prints the smallest processor time of each step and the ratio of these times; rho is then measured at every
100th step only, as by default, and thus outside of the smallest times.
"""

import argparse
import importlib.util
import statistics
from dataclasses import replace
from time import perf_counter, process_time

import numpy as np
from steps_of_paper import steps

from revgn.arrays import device_name, synchronize
from revgn.data import take_batch
from revgn.errors import DataError
from revgn.settings import build_config
from revgn.training import build_problem, initial_state, load_data, step_cost, train_step

NAMES = ("adam", "block", "block paper", "minimum norm", "centered", "cg")
FIRST_ORDER = (
    "adam",
    "muon",
    "rows 1",
    "rows 1, momentum",
    "rows 1, metric",
    "rows 1, orthogonalized",
    "centered",
    "momentum",
)  # with --busy
GROWTH = {
    "batch": (128, 256, 512, 1024),
    "hidden": (1000, 2000, 4000, 8000),
    "blocks": (2, 4, 8),
    "outputs": (2, 5, 10, 20),
}
PARTS = ("forward", "kernel", "solve", "update")


def problems(arguments, outputs, **network):
    """One problem for each kind of step, on the same data and network; other labels for other outputs."""
    dataset, all_steps = None, steps(damping=0.1 if arguments.busy else 0.01)
    for name in arguments.only or (FIRST_ORDER if arguments.busy else NAMES):
        optimizer = all_steps[name]
        training = {"batch_size": arguments.batch, "backend": arguments.backend, "measure_every": 0}
        shape = {"hidden": arguments.hidden, "first_block": arguments.first_block} | network
        settings = {"optimizer": optimizer, "training": training, "network": shape}
        config = build_config({**settings, "data": {"name": "fashion-mnist"}})
        dataset = dataset or with_outputs(load_data(config), outputs)
        yield name, build_problem(config, dataset)


def with_outputs(dataset, count):
    """Return the same images with `count` classes, assigned in turn; unchanged if `count` is None."""
    if count is None:
        return dataset
    parts = {}
    for name in ("train", "test"):
        part = getattr(dataset, name)
        targets = np.eye(count, dtype=part.targets.dtype)[np.arange(len(part.targets)) % count]
        parts[name] = replace(part, targets=targets)
    return replace(dataset, **parts, classes=tuple(map(str, range(count))))


def ceiling(problem):
    """Operations per second of the network's dominant product, (n, d/2) by (d/2, h)."""
    C = problem.network.body.layers[-1].features.projection
    x = problem.backend.xp.ones(
        (problem.batch_size, C.shape[0]), dtype=C.dtype, device=problem.backend.device
    )
    synchronize(x @ C)
    started = perf_counter()
    for _ in range(10):
        y = x @ C
    synchronize(y)
    return 10 * 2.0 * x.shape[0] * C.shape[0] * C.shape[1] / (perf_counter() - started)


def torch_adam(problem):
    """Return a function that takes one step of PyTorch's Adam on the problem's network."""
    import torch

    from revgn.layers import LinearFeatures

    device = "cuda" if problem.backend.name == "cupy" else "cpu"
    layers = problem.network.body.layers
    tensors = [torch.as_tensor(layer.features.projection, device=device) for layer in layers]
    params = [
        (torch.nn.Parameter(torch.as_tensor(p.weight[:-1], device=device)),
         torch.nn.Parameter(torch.as_tensor(p.weight[-1], device=device)))
        for p in initial_state(problem).params
    ]  # fmt: skip
    readout = problem.network.readout
    U = torch.cat([torch.as_tensor(half, device=device) for half in (readout.first, readout.second)])
    optimizer = torch.optim.Adam([w for pair in params for w in pair], lr=1e-4, fused=True)

    def step(inputs, targets):
        x, t = torch.as_tensor(inputs, device=device), torch.as_tensor(targets, device=device)
        started = perf_counter()
        halves = list(x.chunk(2, dim=1))
        for layer, C, (weight, bias) in zip(layers, tensors, params, strict=True):
            features = halves[1 - layer.half] @ C
            if not isinstance(layer.features, LinearFeatures):
                features = torch.relu(features)
            halves[layer.half] = halves[layer.half] + torch.addmm(bias, features, weight)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(torch.cat(halves, dim=1) @ U, t)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        return perf_counter() - started

    return step


def smallest(cases, rounds):
    """Print the smallest processor time of each step, taken in turns, and its ratio to the first one's."""
    times = {name: [] for name in cases}
    states = {name: initial_state(problem) for name, problem in cases.items()}
    for round_ in range(rounds + 1):  # the first warms up, and measures rho
        for name, problem in cases.items():
            start = round_ * problem.batch_size % (len(problem.dataset.train.inputs) - problem.batch_size)
            rows = slice(start, start + problem.batch_size)
            batch = take_batch(problem.dataset, problem.dataset.train, rows, problem.backend, problem.dtype)
            started = process_time()
            states[name], _ = train_step(problem, states[name], batch)
            times[name].append(process_time() - started)
    least = {name: min(of[1:]) for name, of in times.items()}
    first = next(iter(cases))
    work = {name: sum(step_cost(problem).work.values()) for name, problem in cases.items()}
    for name in cases:
        print(
            f"{name:<24} {1e3 * least[name]:9.2f} ms  {least[name] / least[first]:5.2f} x {first} "
            f"(by operations {work[name] / work[first]:5.2f})"
        )


def measure(cases, rounds, step_of_torch=None):
    """Seconds of each step (a list for each name), speed of a large product, and parts of the time.

    In each round a step is taken twice. The second time counts, since its memory is already allocated.
    """
    seconds = {name: [] for name in cases}
    if step_of_torch:
        seconds["adam of PyTorch"] = []
    speeds, parts = [], {}
    states = {name: initial_state(problem) for name, problem in cases.items()}
    for round_ in range(rounds + 1):  # the first warms up
        for name, problem in cases.items():
            train = problem.dataset.train
            rows = slice(round_ * problem.batch_size, (round_ + 1) * problem.batch_size)
            batch = take_batch(problem.dataset, train, rows, problem.backend, problem.dtype)
            for _ in range(2):
                states[name], record = train_step(problem, states[name], batch)
            seconds[name].append(record["seconds"])
            parts[name] = [record.get(f"seconds_{part}", 0.0) / record["seconds"] for part in PARTS]
        if step_of_torch:
            step_of_torch(*batch)
            seconds["adam of PyTorch"].append(step_of_torch(*batch))
        speeds.append(ceiling(problem))
    return {name: times[1:] for name, times in seconds.items()}, statistics.median(speeds[1:]), parts


def table(cases, seconds, speed, parts):
    """Print a line for each step."""
    for name, times in seconds.items():
        work = sum(step_cost(cases.get(name, cases["adam"])).work.values())
        middle = statistics.median(times)
        ratio = statistics.median(a / b for a, b in zip(times, seconds["adam"], strict=True))
        print(
            f"{name:<24} {middle:7.3f} s ({min(times):.3f}-{max(times):.3f})  {ratio:6.2f} x adam  "
            f"{work / 1e9:7.1f} GFLOP  {work / middle / speed:4.0%} of the ceiling  "
            + " ".join(f"{part} {share:.0%}" for part, share in zip(PARTS, parts.get(name, ()), strict=False))
        )


def main():
    """Print the table, or one for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=8000)
    parser.add_argument("--grow", choices=GROWTH)
    parser.add_argument("--busy", action="store_true", help="smallest processor times")
    parser.add_argument("--only", nargs="+", choices=steps(), help="steps to take")
    parser.add_argument("--first-block", default="identity")
    arguments = parser.parse_args()
    for size in GROWTH.get(arguments.grow, (None,)):
        if arguments.grow == "batch":
            arguments.batch = size
        network = {arguments.grow: size} if arguments.grow in ("hidden", "blocks") else {}
        try:
            cases = dict(problems(arguments, size if arguments.grow == "outputs" else None, **network))
        except DataError as error:
            raise SystemExit(f"bench_step: {error}") from None
        if arguments.busy:
            smallest(cases, arguments.rounds)
            continue
        has_torch = importlib.util.find_spec("torch") is not None
        seconds, speed, parts = measure(
            cases, arguments.rounds, torch_adam(cases["adam"]) if has_torch and not arguments.grow else None
        )
        shape = cases["adam"].config.network
        print(
            f"{device_name(cases['adam'].backend)}; float32, n {arguments.batch}, d 784, h {shape.hidden}, ",
            end="",
        )
        c = cases["adam"].dataset.train.targets.shape[1]
        print(f"c {c}, {shape.blocks} blocks; ceiling {speed / 1e9:.0f} GFLOP/s")
        table(cases, seconds, speed, parts)
        if not has_torch:
            print("adam of PyTorch: torch is not installed")


if __name__ == "__main__":
    main()
