"""Settings by the name of their field: the struct that an option sets, and errors if no struct has it."""

import pytest

from revgn.errors import UsageError
from revgn.settings import build_config, canonical, named_settings, path_of, settings_by_name, value_of

GAUSS_NEWTON = {"optimizer": "gauss-newton"}


@pytest.mark.parametrize(
    ("options", "tree"),
    [
        (
            {"momentum": 0.9, "damping": 0.1, "solver": "minimum-norm", "optimizer": "gauss-newton"},
            {
                "kind": "gauss-newton",
                "momentum": 0.9,
                "solver": {"kind": "minimum-norm", "damping": 0.1},
            },
        ),
        (
            {"rtol": 0.01, "block_weights": "uniform", "solver": "block"},
            {"solver": {"kind": "block", "block_weights": "uniform", "rtol": 0.01}},
        ),
        ({"tolerance": 0.01, "solver": "cg"}, {"solver": {"kind": "cg", "tolerance": 0.01}}),
        (
            {"block_samples": 9, "solver": "cg"},
            {"solver": {"kind": "cg", "preconditioner": {"block_samples": 9}}},
        ),
        (
            {"preconditioner": "none", "solver": "cg"},  # in any order
            {"solver": {"kind": "cg", "preconditioner": None}},
        ),
        ({"damping": 0.03, "optimizer": "kfac"}, {"kind": "kfac", "damping": 0.03}),
        (
            {"damping": 0.1, "lr": 0.1, "optimizer": "orthogonalized"},
            {"kind": "orthogonalized", "inner": {"lr": 0.1, "solver": {"damping": 0.1}}},
        ),
        (
            {
                "rtol": 0.1,
                "solver": "block",
                "inner": "gauss-newton",
                "trust_radius": 1,
                "optimizer": "paced",
            },
            {
                "kind": "paced",
                "trust_radius": 1,
                "inner": {"kind": "gauss-newton", "solver": {"kind": "block", "rtol": 0.1}},
            },
        ),
        (
            {
                "switch_at": 3,
                "beta1": 0.5,
                "damping": 0.1,
                "optimizer": "switch",
            },  # each in the struct that has it
            {
                "kind": "switch",
                "switch_at": 3,
                "first": {"beta1": 0.5},
                "second": {"solver": {"damping": 0.1}},
            },
        ),
        ({"optimizer.solver.damping": 0.1}, {"solver": {"damping": 0.1}}),
        ({"optimizer.damping": 0.1, "optimizer.kind": "kfac"}, {"kind": "kfac", "damping": 0.1}),
        ({"lr": 0.2, "optimizer.lr": 0.2}, {"lr": 0.2}),
    ],
)
def test_an_option_sets_the_chosen_struct_that_has_it(options, tree):
    assert build_config(settings_by_name(options)) == build_config({"optimizer": tree})


def test_options_of_other_sections():
    options = {
        "data": "mnist",
        "subset": 10,
        "schedule": "cosine",
        "floor": 0.1,
        "average": "tail",
        "seed": 3,
    }
    assert settings_by_name(options) == {
        "data": {"name": "mnist", "subset": 10},
        "training": {
            "schedule": {"kind": "cosine", "floor": 0.1},
            "average": {"kind": "tail"},
            "seed": 3,
        },
    }


def test_weaker_layers_determine_the_chosen_structs():
    file = {"optimizer": {"kind": "kfac"}}
    assert settings_by_name({"damping": 0.1}, file) == {"optimizer": {"damping": 0.1}}
    assert settings_by_name({"rtol": 0.1}, {"preset": "paper-mnist"}) == {
        "optimizer": {"solver": {"rtol": 0.1}}
    }
    assert settings_by_name({"warmup": 3}, {"training": {"schedule": "cosine"}}) == {
        "training": {"schedule": {"warmup": 3}}
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"optimizer": "adam", "damping": 0.1},
            "--damping: adam has no damping; gauss-newton's solvers and kfac have",
        ),
        ({"nesterov": True}, "--nesterov: gauss-newton has no nesterov; sgd and muon have"),
        ({"tolerance": 0.1}, "--tolerance: minimum-norm has no tolerance; cg and auto have"),
        (
            {"solver": "block", "outputs": "logits"},
            "--outputs: block has no outputs; minimum-norm, cg and auto",
        ),
        ({"optimizer": "sgd", "rtol": 0.1}, "--rtol: sgd has no rtol; gauss-newton's solver block has"),
        ({"optimizer": "adam", "history": 3}, "--history: adam has no history; lbfgs has"),
        ({"trust_radius": 1.0}, "--trust-radius: gauss-newton has no trust_radius; paced has"),
        (
            {"solver": "cg", "preconditioner": "none", "block_samples": 9},
            "--block-samples: needs preconditioner blocks",
        ),
        ({"decay": 0.5}, "--decay: needs metric features or average exponential"),
        ({"gamma": 0.5}, "--gamma: constant has no gamma; step has"),
        ({"tail_start": 0.5}, "--tail-start: needs average tail"),
        (
            {"optimizer": "switch", "switch_at": 3, "lr": 0.1},
            "--lr: could be optimizer.first.lr or optimizer.second.lr; give the path, as in -s optimizer.f",
        ),
        (
            {"optimizer": "lion", "damping": 0.1},
            "--damping: optimizer.kind: unknown name 'lion'; expected one of ga",
        ),
        ({"solver": "dense", "damping": 0.1}, "--damping: optimizer.solver.kind: unknown name 'dense'"),
        ({"carry": 0.9}, "--carry: is now optimizer.momentum"),
        ({"dampin": 0.9}, "--dampin: unknown setting; did you mean damping?"),
        ({"preset": "paper", "lr": 0.1}, "--lr: preset: unknown name 'paper'"),
        ({"lr": 0.1, "optimizer.lr": 0.2}, "--lr and --optimizer.lr: both set optimizer.lr; use only one"),
        (
            {"solver": "cg", "optimizer": {"solver": "block"}},
            "--optimizer and --solver: both set optimizer.s",
        ),
    ],
)
def test_an_option_that_no_chosen_struct_has(options, says):
    with pytest.raises(UsageError) as caught:
        settings_by_name(options, shown=lambda name: f"--{name.replace('_', '-')}")
    assert str(caught.value).startswith(says)


def test_canonical_names_of_settings():
    assert canonical("seed") == canonical("training.seed") == "training.seed"
    assert canonical("data") == "data.name"
    assert canonical("blocks") == "network.blocks"
    assert canonical("damping") == "damping"  # its path depends on the optimizer
    assert canonical("optimizer.solver.damping") == "optimizer.solver.damping"
    for name, says in (
        ("momentun", "did you mean momentum?"),
        ("carry", "is now optimizer.momentum"),
        ("couplings", "was removed, since it did not help"),
        ("zzz", "revgn reference lists all settings"),
    ):
        with pytest.raises(UsageError, match=says.replace("?", r"\?")):
            canonical(name)


def test_the_value_of_a_setting_by_its_name():
    settings = {"optimizer.solver.damping": 0.1, "optimizer.first.lr": 1.0, "optimizer.second.lr": 2.0}
    assert value_of("damping", settings) == value_of("optimizer.solver.damping", settings) == 0.1
    assert value_of("optimizer.second.lr", settings) == 2.0
    assert value_of("lr", settings) is None
    assert value_of("rtol", settings) is None


def test_every_field_is_an_option_once():
    names = named_settings()
    assert {"data", "preset", "optimizer", "solver", "lr", "damping", "inner", "schedule", "seed"} <= set(
        names
    )
    assert not {"name", "training", "kind"} & set(names)
    assert len(names["damping"]) >= 2
    assert path_of("lr", {"optimizer": "adam"}) == "optimizer.lr"
