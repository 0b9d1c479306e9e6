"""Times of primitives and steps on a GPU, for dense and convolutional networks, beside a lower bound.

    python tests/bench/bench_gpu.py [--networks mnist,cifar10,convolutional] [--steps adam,block]
        [--rounds 10] [--batch 1024] [--hidden 8000] [--sizes 1024,8192] [--backend auto|cupy|numpy]
        [--limit SECONDS] [--json FILE]

The time of a call is measured between two CUDA events around it. The time on the clock of the host, which
includes the Python code of the call and the wait for its end, is printed as well. With NumPy, both are
measured on the host.

The floor of a step is the larger of two times: its operations (`revgn.training.step_cost`) at the speed of
the largest single-precision product, and the bytes that it reads at the speed of the largest copy. Work
that is done only at some steps (renewal of K-FAC's factors or of a metric) enters the floor with its mean per
step. Such a step affects the largest time and the mean, but not the median. If PyTorch is installed, its
profiler adds the number of kernels of one step, the time for which they keep the GPU busy, and the number of
copies to the host, for each of which the host waits.
"""

import argparse
import datetime
import gc
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from steps_of_paper import NETWORKS, images, steps

from revgn import trees
from revgn.arrays import (
    Array,
    Backend,
    cholesky,
    describe_cuda,
    device_name,
    eigh,
    nbytes,
    select_backend,
    to_host,
    triangular_solve,
)
from revgn.data import place_dataset, place_rows, take_rows
from revgn.errors import RevgnError
from revgn.networks import Network
from revgn.optimizers import init_state
from revgn.settings import build_config
from revgn.training import Problem, TrainState, build_problem, initial_state, step_cost, train_step

WARM = 3  # steps that do not count, in which kernels are compiled and memory is allocated
CHAIN = 1000  # kernels in the chain whose launches are timed
BATCHES = 4
LONGEST = 2.0  # seconds for the rounds of one primitive

Times = dict[str, float]


class Bench(NamedTuple):
    """The backend, the time after which no further case is started, and the report so far."""

    backend: Backend
    rounds: int
    deadline: float
    report: dict[str, Any]
    file: Path | None

    def case(self, name: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the results of a case; if it fails or the time is over, report this and return nothing."""
        found: dict[str, Any] = {}
        if perf_counter() > self.deadline:
            self.report["left_out"].append(name)
            return found
        try:
            found = measured()
        except Exception as error:  # the other cases are still run
            self.report["failed"][name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            print(f"{name}: {self.report['failed'][name]}"[:400], flush=True)
        self.free()
        return found

    def free(self) -> None:
        """Return the memory of the last case to the device."""
        if self.backend.name == "cupy":
            import cupy

            gc.collect()
            cupy.get_default_memory_pool().free_all_blocks()

    def save(self) -> None:
        """Write the report so far."""
        if self.file is not None:
            self.file.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")


# --- time -------------------------------------------------------------------------------------------


def timed(backend: Backend, call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of a call between two CUDA events, and by the host's clock."""
    if backend.name != "cupy":
        started = perf_counter()
        call()
        return (1e3 * (perf_counter() - started),) * 2
    import cupy

    before, after = cupy.cuda.Event(), cupy.cuda.Event()
    cupy.cuda.get_current_stream().synchronize()
    started = perf_counter()
    before.record()
    call()
    after.record()
    after.synchronize()
    host = 1e3 * (perf_counter() - started)
    return float(cupy.cuda.get_elapsed_time(before, after)), host


def summary(pairs: list[tuple[float, float]]) -> Times:
    """Median, mean and extremes of the first numbers, median of the second."""
    device, host = zip(*pairs, strict=True)
    return {
        "ms": statistics.median(device),
        "mean_ms": statistics.mean(device),
        "least_ms": min(device),
        "most_ms": max(device),
        "host_ms": statistics.median(host),
    }


def kernels(backend: Backend, call: Callable[[], Any]) -> dict[str, Any]:
    """Kernels of a call, the milliseconds that they take, copies to the host, and the ten longest by name.

    The result is empty without a GPU or without PyTorch, whose profiler counts them.
    """
    if backend.name != "cupy":
        return {}
    try:
        import torch
        from torch.profiler import ProfilerActivity, profile
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        timed(backend, call)
    totals: dict[str, tuple[int, float]] = {}
    for event in profiler.events():
        if "cuda" in str(event.device_type).lower():
            count, ms = totals.get(event.name, (0, 0.0))
            totals[event.name] = count + 1, ms + event.time_range.elapsed_us() / 1e3
    longest = sorted(totals.items(), key=lambda item: -item[1][1])[:10]
    return {
        "kernels": sum(n for name, (n, _) in totals.items() if not name.startswith(("Memcpy", "Memset"))),
        "busy_ms": sum(ms for _, ms in totals.values()),
        "to_host": sum(n for name, (n, _) in totals.items() if name.startswith("Memcpy DtoH")),
        "longest": [{"name": name, "count": count, "ms": ms} for name, (count, ms) in longest],
    }


# --- primitives -------------------------------------------------------------------------------------


class Primitive(NamedTuple):
    """A call, and the operations and bytes that it stands for."""

    name: str
    n: int
    dtype: str
    call: Callable[[], Any]
    operations: float = 0.0
    bytes: float = 0.0
    times: int = 1  # number of repetitions within the call


def primitives(backend: Backend, n: int, dtype: str) -> Iterator[Primitive]:
    """Yield the operations that steps consist of, for matrices of order n."""
    xp = backend.xp
    kind = getattr(xp, dtype)
    A = backend.asarray(np.random.default_rng(n).random((n, n), dtype=dtype))
    K = A @ A.T / n + xp.eye(n, dtype=kind, device=backend.device)
    yield Primitive("product", n, dtype, lambda: A @ A, 2.0 * n**3)
    if dtype == "float32" and backend.name == "cupy":
        yield Primitive("product", n, "tf32", lambda: in_tf32(lambda: A @ A), 2.0 * n**3)
    yield Primitive("copy", n, dtype, lambda: xp.asarray(A, copy=True), bytes=2.0 * nbytes(A.shape, A))
    yield Primitive("cholesky", n, dtype, lambda: cholesky(K), n**3 / 3)
    L = cholesky(K)
    for columns in (1, 64):
        B = K[:, :columns]
        name = f"triangular solve, {columns} column{'s' * (columns > 1)}"
        yield Primitive(name, n, dtype, lambda B=B: triangular_solve(L, B), float(columns) * n**2)
    yield Primitive("eigenvectors", n, dtype, lambda: eigh(K), 9.0 * n**3)


def latencies(backend: Backend) -> Iterator[Primitive]:
    """Yield a chain of tiny kernels, and the fetch of one number."""
    x = backend.xp.zeros((1,), dtype=backend.xp.float32, device=backend.device)

    def chain() -> None:
        y = x
        for _ in range(CHAIN):
            y = y + x

    yield Primitive("launch", 1, "float32", chain, times=CHAIN)
    yield Primitive("host wait", 1, "float32", lambda: to_host(x))


def in_tf32(call: Callable[[], Any]) -> Any:
    """Call with single-precision products of CuPy in TF32; the setting is restored at the end."""
    from cupy._core import _routines_linalg as routines

    before = routines.get_compute_type("f")
    routines.set_compute_type("f", routines.COMPUTE_TYPE_TF32)
    try:
        return call()
    finally:
        routines.set_compute_type("f", before)


def measure_primitive(bench: Bench, one: Primitive) -> dict[str, Any]:
    """Time a primitive, print its line, and return it with its speed."""
    timed(bench.backend, one.call)
    pairs: list[tuple[float, float]] = []
    started = perf_counter()
    while not pairs or (len(pairs) < bench.rounds and perf_counter() - started < LONGEST):
        pairs.append(timed(bench.backend, one.call))
    found = {name: ms / one.times for name, ms in summary(pairs).items()}
    found |= {"name": one.name, "n": one.n, "dtype": one.dtype}
    speed = ""
    for unit, amount in (("operations", one.operations), ("bytes", one.bytes)):
        if amount:
            found[f"{unit}_per_second"] = amount / max(found["ms"], 1e-9) * 1e3
            speed = f"{found[f'{unit}_per_second'] / 1e12:9.2f} T{'FLOP' if unit == 'operations' else 'B'}/s"
    spread = f"{found['least_ms']:.4g}-{found['most_ms']:.4g}"
    print(
        f"{one.name:<28}{one.n:>6} {one.dtype:<8}{found['ms']:>10.4f} {spread:>18}{found['host_ms']:>10.4f}"
        f"{speed}",
        flush=True,
    )
    return found


def measure_primitives(bench: Bench, sizes: Sequence[int]) -> None:
    """Measure latencies, and all primitives of each size and precision."""
    print(f"{'primitive':<28}{'n':>6} {'type':<8}{'ms':>10} {'min-max':>18}{'host ms':>10}", flush=True)

    def take(group: Callable[[], Iterator[Primitive]]) -> dict[str, Any]:
        for one in group():
            name = f"{one.name}, {one.n}, {one.dtype}"
            if found := bench.case(name, partial(measure_primitive, bench, one)):
                bench.report["primitives"].append(found)
        return {}

    bench.case("latencies", partial(take, partial(latencies, bench.backend)))
    for n in sizes:
        for dtype in ("float32", "float64"):
            bench.case(f"n {n}, {dtype}", partial(take, partial(primitives, bench.backend, n, dtype)))
    bench.save()


def speed_of(report: dict[str, Any], unit: str) -> float | None:
    """Operations or bytes per second of the largest product or copy in single precision."""
    name, key = {"operations": "product", "bytes": "copy"}[unit], f"{unit}_per_second"
    found = {
        one["n"]: one[key] for one in report["primitives"] if (one["name"], one["dtype"]) == (name, "float32")
    }
    return found[max(found)] if found else None


# --- steps ------------------------------------------------------------------------------------------

COLUMNS = ("ms", "min-max", "host", "ops", "bytes", "x floor", "x adam", "kernels", "busy", "waits")
WIDTHS = (9, 16, 9, 8, 7, 8, 7, 8, 8, 6)


def line(name: str, cells: Iterable[str]) -> str:
    return f"{name:<24}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


def measure_network(bench: Bench, network: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Draw a network once, and measure every step on it, with a line for each."""
    preset, image_shape, _ = NETWORKS[network]
    dataset = images(network, BATCHES * arguments.batch)
    own = build_config({"preset": preset}).network.hidden  # a tuple if the network has stages
    widths = [arguments.hidden] * len(own) if isinstance(own, tuple) else arguments.hidden
    shape = {} if arguments.hidden is None else {"hidden": widths}
    training = {"backend": bench.backend.name, "batch_size": arguments.batch, "measure_every": 0}

    def problem_with(optimizer: dict[str, Any], drawn: Network | None = None) -> Problem:
        config = build_config(
            {
                "preset": preset,
                "data": {"augmentation": "none"},
                "network": shape,
                "training": training,
                "optimizer": optimizer,
            }
        )
        built = build_problem(config, dataset, network=drawn)
        return replace(built, config=config)  # these settings describe `drawn`

    first = problem_with({"kind": "adam"})
    state = initial_state(first)
    data, rows = (
        place_dataset(dataset, bench.backend, first.dtype).train,
        np.arange(BATCHES * arguments.batch),
    )
    numbers = [place_rows(data, part) for part in np.split(rows, BATCHES)]
    batches = [take_rows(data, part) for part in numbers]
    weights = sum(math.prod(leaf.shape) for leaf in trees.leaves(state.params))
    shown = first.config.network
    blocks, hidden = (  # of each stage
        "+".join(map(str, of if isinstance(of, tuple) else (of,))) for of in (shown.blocks, shown.hidden)
    )
    title = (
        f"{network}: {blocks} blocks, d {math.prod(image_shape)}, h {hidden}, "
        f"{weights / 1e6:.1f} million weights; {dataset.name}, n {arguments.batch}, float32"
    )
    found: dict[str, Any] = {"title": title, "steps": {}}
    for name, augmentation in (("batch", "none"), ("cropped_batch", "resized-crop")):
        rng = np.random.default_rng(0)
        take = partial(take_rows, data, numbers[0], augmentation=augmentation, rng=rng)
        found[name] = summary([timed(bench.backend, take) for _ in range(1 + bench.rounds)][1:])
    plain, cropped = found["batch"]["ms"], found["cropped_batch"]["ms"]
    print(f"\n{title}\na batch is taken in {plain:.2f} ms, with random crops in {cropped:.2f} ms")
    print(line("step, ms", COLUMNS), flush=True)
    bench.report["networks"][network] = found

    def measured(name: str) -> dict[str, Any]:
        problem = problem_with(steps()[name], first.network)
        own = init_state(problem.optimizer, problem.network, state.params)
        return measure_step(bench, f"{network}: {name}", problem, state._replace(optimizer=own), batches)

    for name in arguments.steps:
        if of := bench.case(f"{network}: {name}", partial(measured, name)):
            of |= ratios(of, found["steps"].get("adam", of if name == "adam" else {}), bench.report)
            found["steps"][name] = of
            print_step(name, of)
        bench.save()
    return {}


def measure_step(
    bench: Bench, name: str, problem: Problem, state: TrainState, batches: list[tuple[Array, Array]]
) -> dict[str, Any]:
    """Time the steps of one optimizer; the first steps do not count."""
    turns, record = cycle(batches), {}

    def step() -> None:
        nonlocal state, record
        state, record = train_step(problem, state, next(turns))

    first, *others = [timed(bench.backend, step) for _ in range(WARM + bench.rounds)]
    counted = step_cost(problem)
    names = ("loss", "rho", "rung", "rank", "cg_iterations", "memory")
    return {
        **summary(others[WARM - 1 :]),
        "first_host_ms": first[1],
        "operations": sum(counted.work.values()),
        "bytes_read": counted.read,
        **{name: float(record[name]) for name in names if record.get(name) is not None},
        **{name: 1e3 * value for name, value in record.items() if name.startswith("seconds_")},
        **bench.case(f"{name}, kernels", partial(kernels, bench.backend, step)),
    }


def ratios(of: dict[str, Any], adam: dict[str, Any], report: dict[str, Any]) -> Times:
    """Floors of a step from the speeds measured in the same run; its time relative to floor and Adam."""
    found = {}
    for unit, amount in (("operations", of["operations"]), ("bytes", of["bytes_read"])):
        if speed := speed_of(report, unit):
            found[f"floor_{unit}_ms"] = 1e3 * amount / speed
    if found:
        found["to_floor"] = of["ms"] / max(found.values())
    if adam:
        found["to_adam"] = of["ms"] / adam["ms"]
    return found


def print_step(name: str, of: dict[str, Any]) -> None:
    def cell(key: str, form: str = ".2f") -> str:
        return format(of[key], form) if key in of else "-"

    spread = f"{of['least_ms']:.2f}-{of['most_ms']:.2f}"
    cells = [cell("ms"), spread, cell("host_ms"), cell("floor_operations_ms"), cell("floor_bytes_ms")]
    cells += [cell("to_floor"), cell("to_adam"), cell("kernels", "d"), cell("busy_ms"), cell("to_host", "d")]
    print(line(name, cells), flush=True)


# --- all --------------------------------------------------------------------------------------------


def environment(backend: Backend) -> dict[str, Any]:
    """Date, commit, device and versions."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": os.environ.get("COMMIT") or commit_of(Path(__file__).parent),
        "device": device_name(backend),
        "numpy": np.__version__,
    }
    if backend.name == "cupy" and (cuda := describe_cuda()):
        found |= {"driver": cuda.driver, "cuda": cuda.runtime, "cupy": cuda.cupy}
    return found


def commit_of(checkout: Path) -> str | None:
    """Commit of a checkout; None where git or the history is missing."""
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None


def listed(text: str) -> list[str]:
    """Names separated by commas without a space, since a step is called "rows 1, momentum"."""
    return re.split(r",(?! )", text)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; return 1 if a case failed."""
    parser = argparse.ArgumentParser(description="Primitives and steps on a GPU.")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--networks", type=listed, default=list(NETWORKS))
    parser.add_argument("--steps", type=listed, default=list(steps()))
    parser.add_argument("--sizes", type=numbers, default=[1024, 8192], help="orders of the primitives")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds after which no case is opened")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    for given, known in ((options.networks, NETWORKS), (options.steps, steps())):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"{unknown[0]!r} is not one of {', '.join(known)}")
    try:
        backend = select_backend(options.backend)
    except RevgnError as error:
        parser.error(str(error))
    where = environment(backend)
    report = where | {"primitives": [], "networks": {}, "failed": {}, "left_out": []}
    bench = Bench(backend, options.rounds, perf_counter() + options.limit, report, options.json)
    print("\n".join(f"{name:<8} {text}" for name, text in where.items()), end="\n\n", flush=True)
    measure_primitives(bench, options.sizes)
    for network in options.networks:
        bench.case(network, partial(measure_network, bench, network, options))
    bench.save()
    for name in report["left_out"]:
        print(f"{name}: left out, the time is over")
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
