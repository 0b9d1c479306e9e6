import numpy as np
import pytest

from revgn.data import Dataset, Part, load_dataset
from revgn.settings import build_config, settings_by_name
from revgn.training import build_problem

TINY = {
    "data": {"subset": 200},
    "network": {"hidden": 32},
    "training": {"batch_size": 64, "steps": 7, "measure_every": 2},
}


@pytest.fixture(scope="session")
def digits():
    return load_dataset("digits", subset=200)


@pytest.fixture
def make_problem(digits):
    """Return a problem with tiny settings, changed by name or dotted path, on digits or other data."""

    def make(changes=None, dataset=digits):
        return build_problem(build_config(settings_by_name(changes or {}, TINY), TINY), dataset)

    return make


@pytest.fixture
def table():
    """A small regression with an odd number of columns."""
    rng = np.random.default_rng(40)
    x = rng.standard_normal((90, 5))
    y = np.tanh(x @ rng.standard_normal((5, 2)))
    parts = Part(x[:70], y[:70]), Part(x[70:], y[70:])
    return Dataset(
        "table", "regression", *parts, x.mean(0), 1 / x.std(0), None, ("a", "b"), "0" * 64, "made up"
    )
