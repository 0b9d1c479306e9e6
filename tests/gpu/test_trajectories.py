"""Twelve steps of every optimizer on the digits: on a GPU they are those of NumPy, up to rounding."""

import numpy as np
import pytest
from gpu.optimizers import OPTIMIZERS

from revgn.settings import build_config
from revgn.training import StepDone, build_problem, initial_state, load_data, train

FAR = {"float64": 1e-8, "float32": 1e-2}  # relative difference of two losses that is more than rounding
TRAINING = {"steps": 12, "batch_size": 128, "measure_every": 0, "eval_every": 12}


def losses(optimizer, backend, dtype):
    """Loss of the batch before each step."""
    training = TRAINING | {"backend": backend, "dtype": dtype}
    config = build_config({"optimizer": optimizer, "training": training})
    problem = build_problem(config, load_data(config))
    events = train(problem, initial_state(problem))
    return np.array([event.record["loss"] for event in events if isinstance(event, StepDone)])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FAR)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_losses_are_those_of_numpy(name, dtype):
    on_host, on_gpu = (losses(OPTIMIZERS[name], backend, dtype) for backend in ("numpy", "cupy"))
    far = np.abs(on_gpu / on_host - 1)
    print(f"{dtype} {name}: {far.max():.1e}; losses {on_host[0]:.5f} to {on_host[-1]:.5f}")
    assert len(far) == 12
    assert on_host[-1] < on_host[0]  # it has moved
    assert far.max() < FAR[dtype], f"step {far.argmax() + 1}: {on_host} on the host, {on_gpu} on the GPU"
