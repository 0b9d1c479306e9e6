"""Schedules against values worked out by hand."""

import math

import pytest

from revgn.errors import UsageError
from revgn.optimizers import Schedule, rate_factor

ROOT = math.sqrt(0.5)

BY_HAND = [
    (Schedule(), 5, [1, 1, 1, 1, 1]),
    (Schedule(warmup=4), 6, [0.25, 0.5, 0.75, 1, 1, 1]),
    (Schedule("cosine"), 4, [1, (1 + ROOT) / 2, 0.5, (1 - ROOT) / 2]),
    (Schedule("cosine", floor=0.2), 4, [1, 0.2 + 0.4 * (1 + ROOT), 0.6, 0.2 + 0.4 * (1 - ROOT)]),
    (Schedule("cosine", warmup=2), 6, [0.5, 1, 1, (1 + ROOT) / 2, 0.5, (1 - ROOT) / 2]),
    (
        Schedule("cosine", warmup=1, floor=0.5),
        5,
        [1, 1, 0.5 + 0.25 * (1 + ROOT), 0.75, 0.5 + 0.25 * (1 - ROOT)],
    ),
    (Schedule("cosine", floor=1.0), 3, [1, 1, 1]),
    (Schedule("step", every=2, gamma=0.1), 6, [1, 1, 0.1, 0.1, 0.01, 0.01]),
    (Schedule("step", warmup=3, every=2, gamma=0.5), 8, [1 / 3, 2 / 3, 1, 1, 1, 0.5, 0.5, 0.25]),
    (Schedule("step", gamma=1.0, every=1), 3, [1, 1, 1]),
]


@pytest.mark.parametrize(("schedule", "total", "expected"), BY_HAND)
def test_factor(schedule, total, expected):
    factors = [rate_factor(schedule, step, total) for step in range(total)]
    assert factors == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("kind", ["constant", "cosine", "step"])
@pytest.mark.parametrize("warmup", [0, 1, 7, 30])
def test_factors_are_shares_of_the_rate(kind, warmup):
    """In (0, 1], also where the warm-up is longer than the training, and past its end."""
    schedule = Schedule(kind, warmup, floor=0.01, every=5, gamma=0.5)
    for step in range(40):
        assert 0 < rate_factor(schedule, step, 20) <= 1
    if kind == "cosine" and warmup < 20:
        assert rate_factor(schedule, 20, 20) == pytest.approx(0.01)
        assert rate_factor(schedule, 39, 20) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "linear"}, "'linear' is not one of constant, cosine, step"),
        ({"warmup": -1}, "warmup -1"),
        ({"every": 0}, "every 0"),
        ({"floor": 1.5}, "floor 1.5"),
        ({"floor": math.nan}, "floor nan"),
        ({"gamma": 0.0}, "gamma 0.0"),
        ({"gamma": 2.0}, r"gamma 2.0; expected warmup >= 0, every >= 1, 0 <= floor <= 1, 0 < gamma <= 1"),
    ],
)
def test_numbers_out_of_range(settings, says):
    with pytest.raises(UsageError, match=says):
        Schedule(**settings)
