"""The commented file of all settings: complete, explained, and the same settings when it is read."""

import re

import pytest

from revgn.settings import (
    Config,
    build_config,
    config_dict,
    config_template,
    flat,
    merge_settings,
    nested,
    parse_toml,
)

PATHS = list(flat(config_dict(Config())))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"preset": "paper-mnist"},
        {"optimizer.name": "adam", "data.subset": 100},
        {"optimizer.name": "muon"},
        {"optimizer.name": "kfac", "optimizer.kl_clip": 1e-3},
        {"optimizer.name": "lbfgs", "training.batch_size": "full"},
        {"optimizer.inverse": "block", "optimizer.shares": [0.25, 0.75], "optimizer.rtol": 0.01},
        {"optimizer.solver": "cg", "optimizer.preconditioner": "none", "optimizer.memory": None},
        {"optimizer.memory": "4GB", "training.average": "tail", "data.name": 'a "b"\n.npz'},
        {
            "optimizer.name": "adam",
            "optimizer.hybrid": "switch",
            "optimizer.second": "muon",
            "optimizer.switch_at": 3,
        },
    ],
)
def test_what_is_written_is_read(settings):
    config = build_config(merge_settings(*(nested(path, value) for path, value in settings.items())))
    text = config_template(config)
    assert build_config(parse_toml(text, "template")) == config
    assert max(map(len, text.splitlines())) <= 110
    named = re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE)
    assert named == [path.rpartition(".")[2] for path in PATHS]


def test_every_setting_has_a_meaning():
    assert list(MEANINGS) == PATHS
    for path, text in MEANINGS.items():
        assert re.fullmatch(r"[^ ].{8,200}\.", text), path
        assert text.rstrip(".") in config_template(build_config()).replace("\n# ", " "), path


def test_choices_and_defaults_are_told():
    text = config_template(build_config())
    assert '; one of constant, cosine, step (default "constant").' in text
    assert "(default 512)" in text
    assert "\n# momentum = 0.0" in text  # Gauss-Newton does not look at it
