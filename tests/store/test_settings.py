"""Conversion of settings of version 0.1: complete settings build, and partial settings stay partial."""

import pytest

from revgn.optimizers import Adam, GaussNewton, Paced, Switch
from revgn.settings import build_config, config_dict
from revgn.solvers import BlockWise
from revgn.store.settings import migrated_settings

# default settings that version 0.1.0 stored in every run
NETWORK = {
    "blocks": 2,
    "hidden": 512,
    "activation": "relu",
    "first_block": "same",
    "activations": "keep",
    "init_scale": 1e-06,
}
OPTIMIZER = {
    "name": "gauss-newton",
    "lr": 1.0,
    "schedule": "constant",
    "warmup": 0,
    "floor": 0.0,
    "every": 1000,
    "gamma": 0.1,
    "inverse": "minimum-norm",
    "shares": "full-rank",
    "rtol": None,
    "atol": 0.0,
    "solver": "dense",
    "damping": 0.0,
    "outputs": "logits",
    "memory": None,
    "tolerance": 0.001,
    "max_iterations": 1000,
    "preconditioner": "blocks",
    "block_samples": 4096,
    "directions": None,
    "curvature": "identity",
    "output_damping": 0.0,
    "adapt_damping": False,
    "damping_raised": 4.0,
    "damping_lowered": 3.0,
    "damping_min": 1e-06,
    "damping_max": 1000.0,
    "carry": 0.0,
    "carry_limit": 1.2,
    "metric": "identity",
    "metric_floor": 1.0,
    "metric_mean": 0.95,
    "metric_every": 10,
    "orthogonal": False,
    "momentum": 0.0,
    "nesterov": False,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-08,
    "factor_every": 10,
    "factor_mean": 0.95,
    "kl_clip": None,
    "history": 10,
    "weight_decay": 0.0,
    "decay_to": "zero",
    "length_rule": "fixed",
    "halvings": 10,
    "trust_radius": None,
    "trust_change": None,
    "hybrid": "none",
    "second": None,
    "second_lr": None,
    "second_share": 0.5,
    "switch_at": None,
    "patience": None,
    "couplings": None,
}
GAUSS_NEWTON = config_dict(GaussNewton()) | {"kind": "gauss-newton"}
for name in ("rows", "damping_unit", "damping_every"):  # these runs have no such settings
    del GAUSS_NEWTON["solver"][name]
del GAUSS_NEWTON["rho_every"]


def of_optimizer(**changes):
    return migrated_settings({"optimizer": OPTIMIZER | changes})["optimizer"]


def test_the_defaults_of_a_run():
    old = {
        "data": {"name": "digits", "validation_fraction": 0.1},
        "network": NETWORK,
        "optimizer": OPTIMIZER | {"schedule": "cosine", "warmup": 3},
        "training": {
            "loss": "auto",
            "average": "tail",
            "average_decay": 0.95,
            "average_from": 0.5,
            "seed": 7,
        },
        "preset": None,
    }
    before = {name: dict(table) if isinstance(table, dict) else table for name, table in old.items()}
    found = migrated_settings(old)
    assert found == {
        "preset": None,
        "data": {"name": "digits", "validation": 0.1},
        "network": NETWORK,
        "optimizer": {
            "kind": "gauss-newton",
            "lr": 1.0,
            "momentum": 0.0,
            "momentum_limit": 1.2,
            "curvature": "identity",
            "output_damping": 0.0,
            "weight_decay": 0.0,
            "solver": {"kind": "minimum-norm", "damping": 0.0, "outputs": "logits", "memory": None},
            "metric": None,
        },
        "training": {
            "loss": None,
            "seed": 7,
            "average": {"kind": "tail", "tail_start": 0.5},
            "schedule": {"kind": "cosine", "warmup": 3, "floor": 0.0},
        },
    }
    assert old == before
    assert build_config(found).optimizer == GaussNewton()


@pytest.mark.parametrize(
    ("changes", "tree"),
    [
        (
            {"inverse": "block", "shares": [0.25, 0.75], "rtol": 0.01, "atol": 1e-5, "carry": 0.9},
            GAUSS_NEWTON
            | {
                "momentum": 0.9,
                "solver": {
                    "kind": "block",
                    "block_weights": [0.25, 0.75],
                    "rtol": 0.01,
                    "atol": 1e-5,
                    "damping": 0.0,
                },
            },
        ),
        (
            {"solver": "cg", "damping": 0.1, "outputs": "contrasts", "preconditioner": "none"},
            GAUSS_NEWTON
            | {
                "solver": {
                    "kind": "cg",
                    "damping": 0.1,
                    "outputs": "centered-logits",
                    "tolerance": 1e-3,
                    "max_iterations": 1000,
                    "preconditioner": None,
                }
            },
        ),
        (
            {"metric": "features", "metric_floor": 2.0},
            GAUSS_NEWTON | {"metric": {"kind": "features", "floor": 2.0, "decay": 0.95, "every": 10}},
        ),
        (
            {"name": "adam", "lr": 0.01, "beta1": 0.5},
            {"kind": "adam", "lr": 0.01, "beta1": 0.5, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
        ),
        (
            {"name": "kfac", "lr": 0.03, "damping": 0.03, "momentum": 0.9, "factor_every": 5},
            {
                "kind": "kfac",
                "lr": 0.03,
                "damping": 0.03,
                "momentum": 0.9,
                "every": 5,
                "decay": 0.95,
                "kl_clip": None,
                "weight_decay": 0.0,
            },
        ),
        (
            {"damping": 1.0, "adapt_damping": True, "damping_max": 9.0},
            {
                "kind": "levenberg-marquardt",
                "inner": GAUSS_NEWTON
                | {"solver": {"kind": "minimum-norm", "damping": 1.0, "outputs": "logits", "memory": None}},
                "raised": 4.0,
                "lowered": 3.0,
                "lowest": 1e-6,
                "highest": 9.0,
            },
        ),
        (
            {"lr": 0.02, "orthogonal": True},
            {"kind": "orthogonalized", "inner": GAUSS_NEWTON | {"lr": 0.02}, "momentum": 0.0},
        ),
        (
            {"length_rule": "backtracking", "halvings": 4, "trust_radius": 2.0},
            {
                "kind": "paced",
                "inner": GAUSS_NEWTON,
                "length": {"kind": "backtracking", "halvings": 4},
                "trust_radius": 2.0,
            },
        ),
        (
            {"hybrid": "blend", "second": "sgd", "second_lr": 0.1, "second_share": 0.25, "momentum": 0.5},
            {
                "kind": "blend",
                "first": GAUSS_NEWTON,
                "second": {
                    "kind": "sgd",
                    "lr": 0.1,
                    "momentum": 0.5,
                    "nesterov": False,
                    "weight_decay": 0.0,
                },
                "share": 0.25,
            },
        ),
        (
            {"hybrid": "couplings", "second": "adam", "couplings": [1]},
            {
                "kind": "couplings",
                **{
                    name: value
                    for name, value in OPTIMIZER.items()
                    if name not in ("name", "schedule", "warmup", "floor", "every", "gamma")
                },
                "hybrid": "couplings",
                "second": "adam",
                "couplings": [1],
            },
        ),
    ],
    ids=lambda part: part.get("kind", "") if "kind" in part else "",
)
def test_complete_optimizers(changes, tree):
    found = of_optimizer(**changes)
    assert found == tree
    if tree["kind"] != "couplings":
        assert build_config({"optimizer": found}) == build_config({"optimizer": tree})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"hybrid": "agreement"}, "agreement"),
        ({"hybrid": "couplings", "second": "adam", "couplings": [0]}, "couplings"),
        ({"length_rule": "second-batch"}, "second-batch"),
        ({"weight_decay": 0.1, "decay_to": "start"}, "decay-to-start"),
        ({"trust_change": 1.0}, "trust-change"),
    ],
)
def test_removed_optimizers_keep_their_settings(changes, kind):
    found = of_optimizer(**changes)
    assert found["kind"] == kind
    assert found["damping"] == 0.0
    assert changes.items() <= found.items()
    assert not {"name", "schedule"} & set(found)


def test_a_switch_with_both_bounds():
    found = of_optimizer(hybrid="switch", second="adam", second_lr=0.01, switch_at=3, trust_radius=1.0)
    inner = Switch(GaussNewton(), Adam(lr=0.01), switch_at=3)
    assert found["kind"] == "paced"
    switch = found["inner"]
    assert build_config({"optimizer": switch}).optimizer == inner


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {}),
        ({"training": {"seed": 3}}, {"training": {"seed": 3}}),
        ({"optimizer": {"lr": 0.5}}, {"optimizer": {"lr": 0.5}}),
        ({"optimizer": {"name": "adam"}}, {"optimizer": {"kind": "adam"}}),
        ({"optimizer": {"inverse": "block"}}, {"optimizer": {"solver": {"kind": "block"}}}),
        ({"optimizer": {"damping": 0.1}}, {"optimizer": {"solver": {"damping": 0.1}}}),
        ({"optimizer": {"carry": 0.9}}, {"optimizer": {"momentum": 0.9}}),
        (
            {"optimizer": {"name": "sgd", "schedule": "step", "every": 9}},
            {"optimizer": {"kind": "sgd"}, "training": {"schedule": {"kind": "step", "every": 9}}},
        ),
        ({"optimizer": {"schedule": "cosine"}}, {"training": {"schedule": {"kind": "cosine"}}}),
        (
            {"training": {"average": "exponential", "average_decay": 0.5}},
            {"training": {"average": {"kind": "exponential", "decay": 0.5}}},
        ),
        ({"training": {"loss": "squared-error"}}, {"training": {"loss": {"kind": "squared-error"}}}),
        (
            {"optimizer": {"hybrid": "switch", "second": "adam", "switch_at": 3}},
            {
                "optimizer": {
                    "kind": "switch",
                    "first": {"kind": "gauss-newton"},
                    "second": {"kind": "adam"},
                    "switch_at": 3,
                }
            },
        ),
    ],
)
def test_partial_settings_stay_partial(old, new):
    assert migrated_settings(old) == new
    build_config(new)


def test_the_old_paced_optimizer():
    found = of_optimizer(inverse="block", length_rule="backtracking")
    config = build_config({"optimizer": found})
    assert config.optimizer == Paced(GaussNewton(BlockWise()), length=config.optimizer.length)
