"""The steps that the benchmarks and the GPU tests take, their networks, and their images."""

import math
from typing import Any

import numpy as np

from revgn.data import Dataset, Part, load_dataset
from revgn.errors import DataError
from revgn.linalg import PAPER_RULE

NETWORKS = {  # name: preset of the network, shape of its images, data sets with images of this shape
    "mnist": ("paper-mnist", (1, 28, 28), ("fashion-mnist", "mnist")),
    "cifar10": ("paper-cifar10", (3, 32, 32), ("cifar10",)),
    "convolutional": ("revnet-cifar10", (3, 32, 32), ("cifar10",)),
}


def steps(damping: float = 0.1) -> dict[str, dict[str, Any]]:
    """Settings of an optimizer for each kind of step, by name; the others are compared with the first."""
    dense = {"kind": "minimum-norm", "damping": damping}
    centered = dense | {"outputs": "centered-logits"}
    one = dense | {"rows": 1}
    by_cg = centered | {"kind": "cg", "preconditioner": {"kind": "blocks", "directions": 0}}
    rule = {"rtol": PAPER_RULE.rtol, "atol": PAPER_RULE.atol}
    whole = {"kind": "block", "block_weights": "full-rank", "rtol": None, "atol": 0.0}  # the preset truncates

    def gauss_newton(solver: dict[str, Any], **settings: Any) -> dict[str, Any]:
        return {"kind": "gauss-newton", "lr": 0.1, "solver": solver, **settings}

    return {
        "adam": {"kind": "adam"},
        "sgd": {"kind": "sgd", "momentum": 0.9},
        "muon": {"kind": "muon"},
        "kfac": {"kind": "kfac"},
        "block": gauss_newton(whole),
        "block paper": gauss_newton({"kind": "block", "block_weights": "uniform", **rule}),
        "minimum norm": gauss_newton(dense),
        "centered": gauss_newton(centered),
        "momentum": gauss_newton(centered, momentum=0.9),
        "metric": gauss_newton(centered, momentum=0.9, metric="features"),
        "orthogonalized": {"kind": "orthogonalized", "inner": gauss_newton(centered)},
        "rows 1": gauss_newton(one),
        "rows 1, momentum": gauss_newton(one, momentum=0.9),
        "rows 1, metric": gauss_newton(one, momentum=0.9, metric="features"),
        "rows 1, orthogonalized": {"kind": "orthogonalized", "inner": gauss_newton(one)},
        "cg": gauss_newton(by_cg),
    }


def images(network: str, rows: int) -> Dataset:
    """The first rows of a data set of the network's size, or random images if none is on this machine."""
    _, shape, names = NETWORKS[network]
    for name in names:
        try:
            return load_dataset(name, subset=rows, download=False)
        except DataError:
            continue
    return made_images(shape, rows)


def made_images(shape: tuple[int, int, int], rows: int) -> Dataset:
    """Random images in ten random classes."""
    rng, columns = np.random.default_rng(0), math.prod(shape)
    inputs = rng.integers(0, 256, (rows, columns), dtype=np.uint8)
    targets = np.eye(10, dtype=np.float32)[rng.integers(10, size=rows)]
    return Dataset(
        name="made",
        task="classification",
        train=Part(inputs, targets),
        test=Part(inputs[:64], targets[:64]),
        shift=np.full(columns, 127.5),
        scale=np.full(columns, 1 / 73.6),
        image_shape=shape,
        classes=tuple("0123456789"),
        checksum="0" * 64,
        source="made up",
    )
