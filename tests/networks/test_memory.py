"""Rebuilt activations keep memory flat in depth."""

import pytest
from bench.bench_memory import OPTIMIZERS, peak_beyond_parameters


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_memory_is_flat_in_depth(name):
    few = peak_beyond_parameters(OPTIMIZERS[name], "rebuild", 4)
    many = peak_beyond_parameters(OPTIMIZERS[name], "rebuild", 16)
    assert many < 1.1 * few
