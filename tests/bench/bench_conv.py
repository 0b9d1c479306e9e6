"""The convolutional network compared with PyTorch: forward, gradient and step, in one process.

    python tests/bench/bench_conv.py [--rounds 5] [--batch 128] [--size 32] [--busy] [--set KEY=VALUE]

Prints for each map or step the median and spread of its time, its ratio to PyTorch's time in the same round
(the forward pass, the gradient, and the step of Adam), the operations counted, and the share reached of the
speed of a large matrix product measured in the same round. The steps are also compared with our own Adam.
PyTorch computes the same network from the same weights, on the same number of threads; its columns are empty
where torch is not installed. The number of threads is OMP_NUM_THREADS. With --busy, for a machine that
others use, the times are those of the processor, and the smallest of each counts; this needs one thread.
"""

import argparse
import importlib.util
import os
import statistics
from collections.abc import Callable
from time import perf_counter, process_time

import numpy as np

from revgn.arrays import device_name
from revgn.data import Dataset, ImageShape, Part
from revgn.layers import Squeeze
from revgn.losses import output_step
from revgn.maps import forward
from revgn.optimizers import Adam
from revgn.settings import build_config
from revgn.settings.text import nested, parse_assignment
from revgn.solvers import apply_adjoint, jacobian
from revgn.training import build_problem, initial_state, step_cost, train_step

ROWS = {"kind": "minimum-norm", "rows": 1, "damping": 0.1}
EXACT = {"kind": "gauss-newton", "lr": 0.3, "solver": ROWS}
STEPS = {
    "adam": {"kind": "adam"},
    "muon": {"kind": "muon"},
    "rows 1": EXACT,
    "rows 1, momentum": EXACT | {"momentum": 0.9},
    "rows 1, orthogonalized": {"kind": "orthogonalized", "inner": EXACT | {"lr": 0.02}},
}
ALONE = ("forward", "gradient")  # maps; all others are steps, compared with Adam's


def made_images(size: int, rows: int) -> Dataset:
    """Random colour images in ten random classes."""
    rng, shape = np.random.default_rng(0), ImageShape(3, size, size)
    inputs = rng.integers(0, 256, (rows, 3 * size * size), dtype=np.uint8)
    part = Part(inputs, np.eye(10)[rng.integers(10, size=rows)])
    shift, scale = np.full(3 * size * size, 127.5), np.full(3 * size * size, 1 / 73.6)
    names = tuple("0123456789")
    return Dataset("made", "classification", part, part, shift, scale, shape, names, "0" * 64, "made up")


def problems(arguments):
    """One problem for each kind of step, on the same images."""
    dataset = made_images(arguments.size, 2 * arguments.batch)
    for name, optimizer in STEPS.items():
        settings = {
            "preset": "revnet-cifar10",
            "optimizer": optimizer,
            "training": {"batch_size": arguments.batch, "backend": "numpy", "schedule": "constant"},
        }
        for assignment in arguments.set:
            path, value = parse_assignment(assignment)
            section, _, rest = path.partition(".")
            settings[section] = settings.get(section, {}) | nested(rest, value)
        yield name, build_problem(build_config(settings), dataset)


def torch_network(problem, params):
    """Return the tensors of the weights, and a function of images (n, d) that computes the logits."""
    import torch
    from torch.nn.functional import conv2d, pixel_unshuffle

    stem, readout, layers = problem.network.stem, problem.network.readout, problem.network.body.layers
    tensors = []
    for layer, of in zip(layers, params, strict=True):
        if isinstance(layer, Squeeze):
            tensors.append(())
            continue
        q, k, h = layer.features.grid.channels, layer.features.grid.kernel, layer.features.hidden
        C = of.projection if hasattr(of, "projection") else layer.features.projection
        kernel = torch.tensor(C.reshape(k, k, q, h).transpose(3, 2, 0, 1).copy())
        weight = torch.tensor(of.weight[:-1].T.reshape(q, h, 1, 1).copy())
        bias = torch.tensor(of.weight[-1].copy())
        own = (weight, bias, kernel) if hasattr(of, "projection") else (weight, bias)
        for tensor in own:
            tensor.requires_grad_()
        tensors.append((weight, bias, kernel))
    U = torch.cat([torch.tensor(half) for half in (readout.first, readout.second)])

    def grouped(x):
        """Squares of 2 x 2 pixels become channels, ordered by row, column and channel as ours are."""
        n, c, high, wide = x.shape
        apart = pixel_unshuffle(x, 2).reshape(n, c, 4, high // 2, wide // 2)
        return apart.transpose(1, 2).reshape(n, 4 * c, high // 2, wide // 2)

    def logits(x):
        x = x.reshape(-1, stem.channels, stem.height, stem.width)
        x = grouped(x) if stem.factor == 2 else x
        middle, n, q = (x.shape[1] + 1) // 2, x.shape[0], stem.grid.channels
        halves = [
            torch.cat([part, part.new_zeros(n, q - part.shape[1], *x.shape[2:])], dim=1)
            for part in (x[:, :middle], x[:, middle:])
        ]
        halves = [half.contiguous(memory_format=torch.channels_last) for half in halves]
        for layer, own in zip(layers, tensors, strict=True):
            if isinstance(layer, Squeeze):
                halves = [grouped(half).contiguous(memory_format=torch.channels_last) for half in halves]
                continue
            weight, bias, kernel = own
            features = torch.relu(conv2d(halves[1 - layer.half], kernel, padding=kernel.shape[-1] // 2))
            halves[layer.half] = halves[layer.half] + conv2d(features, weight, bias)
        return torch.cat([half.mean(dim=(2, 3)) for half in halves], dim=1) @ U

    return [tensor for own in tensors for tensor in own if tensor.requires_grad], logits


def torch_cases(problem, params, inputs, targets) -> dict[str, Callable[[], None]]:
    """Return PyTorch's forward pass, gradient and step of Adam, after a check of its logits."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    weights, logits = torch_network(problem, params)
    x, t = torch.tensor(inputs), torch.tensor(targets)
    optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)
    with torch.no_grad():
        np.testing.assert_allclose(logits(x), forward(problem.network, params, inputs), rtol=1e-3, atol=1e-4)

    def forward_of_torch():
        with torch.no_grad():
            logits(x)

    def gradient():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits(x), t).backward()

    def step():
        gradient()
        optimizer.step()

    return {"forward": forward_of_torch, "gradient": gradient, "adam": step}


def own_cases(cases, params, inputs, targets) -> dict[str, Callable[[], None]]:
    """Return our forward pass, gradient and steps; each step begins from the state after the last one."""
    problem = cases["adam"]
    states = {name: initial_state(of) for name, of in cases.items()}

    def gradient():
        outputs, J = jacobian(problem.network, params, inputs)
        apply_adjoint(J, output_step(problem.loss, outputs, targets) / inputs.shape[0])

    def step(name):
        states[name], _ = train_step(cases[name], states[name], (inputs, targets))

    found = {"forward": lambda: forward(problem.network, params, inputs), "gradient": gradient}
    return found | {name: lambda name=name: step(name) for name in cases}


def work_of(name: str, problem) -> float:
    """Return the operations of the forward pass, of the gradient, or of a step."""
    counted = step_cost(problem).work
    if name in ALONE:
        return counted["forward"] + (counted["gradient"] if name == "gradient" else 0.0)
    return sum(counted.values())


def ceiling(clock: Callable[[], float], rows: int = 4096, inner: int = 512, columns: int = 512) -> float:
    """Return the operations per second of a matrix product in single precision."""
    A, B = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    A @ B
    started = clock()
    for _ in range(5):
        A @ B
    return 10.0 * rows * inner * columns / (clock() - started)


def timed(function: Callable[[], None], clock: Callable[[], float]) -> float:
    started = clock()
    function()
    return clock() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    cases, clock = dict(problems(arguments)), process_time if arguments.busy else perf_counter
    problem = cases["adam"]
    assert isinstance(problem.optimizer, Adam)
    params, part = initial_state(problem).params, problem.dataset.train
    inputs = ((part.inputs[: arguments.batch] - 127.5) / 73.6).astype(np.float32)
    targets = part.targets[: arguments.batch].astype(np.float32)
    ours = own_cases(cases, params, inputs, targets)
    has_torch = importlib.util.find_spec("torch") is not None
    theirs = torch_cases(problem, params, inputs, targets) if has_torch else {}
    seconds = {name: [] for name in ours}
    seconds_of_torch = {name: [] for name in theirs}
    speeds = []
    for round_ in range(arguments.rounds + 1):  # the first warms up
        for name, function in ours.items():
            seconds[name].append(timed(function, clock))
            if name in theirs:
                seconds_of_torch[name].append(timed(theirs[name], clock))
        speeds.append(ceiling(clock))
        if not round_:
            seconds, seconds_of_torch, speeds = {n: [] for n in ours}, {n: [] for n in theirs}, []
    typical = min if arguments.busy else statistics.median
    speed = max(speeds) if arguments.busy else statistics.median(speeds)
    shape = problem.config.network
    print(
        f"{device_name(problem.backend)}; float32, n {arguments.batch}, {arguments.size} x {arguments.size}, "
        f"channels {shape.channels}, blocks {shape.blocks}, hidden {shape.hidden}; "
        f"ceiling {speed / 1e9:.0f} GFLOP/s; {'' if has_torch else 'torch is not installed'}"
    )
    for name, times in seconds.items():
        middle, work = typical(times), work_of(name, cases.get(name, problem))

        def ratio(others, times=times):
            if not others:
                return "      -"
            if arguments.busy:
                return f"{min(times) / min(others):7.2f}"
            return f"{statistics.median(a / b for a, b in zip(times, others, strict=True)):7.2f}"

        of_torch = seconds_of_torch.get(name if name in ALONE else "adam", [])
        print(
            f"{name:<24} {middle:7.3f} s ({min(times):.3f}-{max(times):.3f})  {ratio(of_torch)} x PyTorch  "
            f"{ratio(seconds['adam'])} x adam  {work / 1e9:7.1f} GFLOP  "
            f"{work / middle / speed:4.0%} of the ceiling"
        )


if __name__ == "__main__":
    main()
