"""Settings without effect are said."""

import pytest

from revgn.settings import build_config, settings_by_name
from revgn.training import build_problem, idle_settings, load_data


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"subset_seed": 3}, "subset_seed has no effect without subset"),
        ({"subset_seed": 3, "subset": 100}, None),
        ({"analyse_probes": 8}, "analyse_probes has no effect without analyse_rows"),
        ({"analyse_probes": 8, "analyse_rows": 20}, None),
        ({"momentum_limit": 2.0}, "momentum_limit has no effect with momentum 0"),
        ({"momentum_limit": 2.0, "momentum": 0.9}, None),
        ({"damping_every": 3, "damping": 0.1}, "damping_every has no effect without damping leave-one-out"),
        ({"folder": "nowhere"}, "folder has no effect, since nowhere has no folder digits"),
        ({"analyse_rows": 361}, "analyse_rows is 361; the test set has only 360 rows, which are all used"),
        ({"analyse_rows": 360}, None),
        (
            {"rows": 1, "outputs": "centered-logits"},
            "outputs centered-logits has no effect with rows 1, since the output step is centered",
        ),
        ({"rows": 2, "outputs": "centered-logits"}, None),
        ({"damping_every": 3, "damping": "leave-one-out"}, None),
    ],
)
def test_a_setting_of_something_that_is_off(settings, idle):
    config = build_config(settings_by_name(settings))
    assert idle_settings(build_problem(config, load_data(config))) == ([idle] if idle else [])
