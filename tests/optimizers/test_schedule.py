"""Schedules against values computed by hand."""

import math

import pytest

from revgn.optimizers import Constant, Cosine, StepDecay, schedule_factor

ROOT = math.sqrt(0.5)

BY_HAND = [
    (Constant(), 5, [1, 1, 1, 1, 1]),
    (Constant(warmup=4), 6, [0.25, 0.5, 0.75, 1, 1, 1]),
    (Cosine(), 4, [1, (1 + ROOT) / 2, 0.5, (1 - ROOT) / 2]),
    (Cosine(floor=0.2), 4, [1, 0.2 + 0.4 * (1 + ROOT), 0.6, 0.2 + 0.4 * (1 - ROOT)]),
    (Cosine(warmup=2), 6, [0.5, 1, 1, (1 + ROOT) / 2, 0.5, (1 - ROOT) / 2]),
    (Cosine(warmup=1, floor=0.5), 5, [1, 1, 0.5 + 0.25 * (1 + ROOT), 0.75, 0.5 + 0.25 * (1 - ROOT)]),
    (Cosine(floor=1.0), 3, [1, 1, 1]),
    (StepDecay(every=2, gamma=0.1), 6, [1, 1, 0.1, 0.1, 0.01, 0.01]),
    (StepDecay(warmup=3, every=2, gamma=0.5), 8, [1 / 3, 2 / 3, 1, 1, 1, 0.5, 0.5, 0.25]),
    (StepDecay(gamma=1.0, every=1), 3, [1, 1, 1]),
]


@pytest.mark.parametrize(("schedule", "total", "expected"), BY_HAND)
def test_factor(schedule, total, expected):
    factors = [schedule_factor(schedule, step, total) for step in range(total)]
    assert factors == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("warmup", [0, 7, 30])
def test_factors_are_in_0_to_1(warmup):
    """Also if the warm-up is longer than the training, and after the end of training."""
    cosine = Cosine(warmup, floor=0.01)
    for schedule in (Constant(warmup), cosine, StepDecay(warmup, every=5, gamma=0.5)):
        assert all(0 < schedule_factor(schedule, step, 20) <= 1 for step in range(40))
    if warmup < 20:
        assert schedule_factor(cosine, 20, 20) == schedule_factor(cosine, 39, 20) == pytest.approx(0.01)
