"""The configuration from nested dicts: precedence of layers, invalid settings, error messages."""

import math

import pytest

from revgn.errors import UsageError
from revgn.networks import Architecture, Convolutional
from revgn.optimizers import (
    KFAC,
    SGD,
    Adam,
    Backtracking,
    Blend,
    Cosine,
    FeatureMetric,
    GaussNewton,
    LevenbergMarquardt,
    Muon,
    Orthogonalized,
    Paced,
    Switch,
)
from revgn.settings import (
    FAMILIES,
    Config,
    Tail,
    build_config,
    config_dict,
    flat,
    mapped,
    merge_settings,
    named_settings,
    parts_of,
    register,
    settings_by_name,
)
from revgn.solvers import Blocks, BlockWise, ConjugateGradients, MinimumNorm
from revgn.structs import setting, struct


def built(*layers):
    return flat(config_dict(build_config(*layers)))


def test_a_stronger_layer_overrides_a_weaker_one():
    option = {"network": {"blocks": 3}}
    file = {"network": {"blocks": 4, "hidden": 40}, "preset": "paper-cifar10"}
    found = built(option, file)
    assert found["network.blocks"] == 3
    assert found["network.hidden"] == 40
    assert found["network.first_block"] == "identity"  # from the preset
    assert found["data.augmentation"] == "resized-crop"
    assert found["training.batch_size"] == 1024
    assert found["network.activation"] == "relu"  # the default
    assert built(file)["network.blocks"] == 4
    assert built({"preset": "paper-mnist"}, file)["data.name"] == "mnist"  # the preset may be an option, too
    assert built()["network.blocks"] == 2


@pytest.mark.parametrize(
    ("table", "optimizer"),
    [
        ({}, GaussNewton()),
        ("sgd", SGD()),
        ({"kind": "adam", "beta1": 0.5, "lr": 1}, Adam(lr=1.0, beta1=0.5)),
        ({"solver": {"damping": 0.1}}, GaussNewton(MinimumNorm(0.1))),
        ({"solver": {"memory": "1MB", "outputs": "centered-logits"}}, None),
        ({"solver": "block", "lr": 0.5}, GaussNewton(BlockWise(), lr=0.5)),
        (
            {"solver": {"kind": "block", "block_weights": [0.25, 0.75]}},
            GaussNewton(BlockWise(block_weights=(0.25, 0.75))),
        ),
        (
            {"solver": {"kind": "cg", "preconditioner": {"block_samples": 8}}},
            GaussNewton(ConjugateGradients(preconditioner=Blocks(block_samples=8))),
        ),
        (
            {"solver": {"kind": "cg", "preconditioner": "none"}},
            GaussNewton(ConjugateGradients(preconditioner=None)),
        ),
        ({"metric": {"kind": "features", "floor": 2}}, GaussNewton(metric=FeatureMetric(floor=2.0))),
        (
            {
                "kind": "levenberg-marquardt",
                "inner": {"lr": 0.5},
            },  # replaces a field of the wrapper's default
            LevenbergMarquardt(GaussNewton(MinimumNorm(1.0), lr=0.5)),
        ),
        ({"kind": "orthogonalized"}, Orthogonalized(GaussNewton(MinimumNorm(0.3, rows=1), lr=0.02))),
        ({"kind": "orthogonalized", "inner": "kfac"}, Orthogonalized(KFAC())),
        (
            {"kind": "paced", "length": "backtracking", "inner": {"kind": "blend", "second": "muon"}},
            Paced(Blend(second=Muon()), length=Backtracking()),
        ),
        (
            {"kind": "switch", "switch_at": 3, "first": {"lr": 0.5}, "second": {"solver": {"kind": "block"}}},
            Switch(Adam(lr=0.5), GaussNewton(BlockWise()), switch_at=3),
        ),
    ],
)
def test_a_table_is_its_struct(table, optimizer):
    expected = optimizer or GaussNewton(MinimumNorm(memory=10**6, outputs="centered-logits"))
    assert build_config({"optimizer": table}).optimizer == expected


def test_another_kind_replaces_the_weaker_table():
    file = {"optimizer": {"kind": "adam", "beta1": 0.5}, "training": {"schedule": "cosine"}}
    assert build_config({"optimizer": {"lr": 0.1}}, file).optimizer == Adam(lr=0.1, beta1=0.5)
    assert build_config({"optimizer": {"kind": "adam", "lr": 0.1}}, file).optimizer == Adam(0.1, 0.5)
    assert build_config({"optimizer": "kfac"}, file).optimizer == KFAC()
    assert build_config({"training": {"schedule": {"floor": 0.1}}}, file).training.schedule == Cosine(
        floor=0.1
    )
    solver = {"optimizer": {"momentum": 0.5, "solver": {"damping": 0.1}}}
    other = build_config({"optimizer": {"solver": "block"}}, solver).optimizer
    assert other == GaussNewton(BlockWise(), momentum=0.5)
    assert build_config({"training": {"diverged_above": "none"}}).training.diverged_above is None
    assert build_config({"preset": "none", "data": {"subset": "none"}}) == Config()
    none = build_config({"training": {"average": "none"}}, {"training": {"average": {"kind": "tail"}}})
    assert none.training.average is None


def test_epochs_replace_the_steps_of_a_weaker_layer():
    """Steps would void the epochs; within one layer, as in the file of a run, they do."""

    def length(*layers):
        training = build_config(*({"training": layer} for layer in layers)).training
        return training.steps or f"{training.epochs} epochs"

    assert length({"epochs": 3}, {"steps": 2}) == "3 epochs"
    assert length({"epochs": 3}, {"seed": 1}, {"steps": 2, "epochs": 4}) == "3 epochs"
    assert length({"epochs": 3, "steps": 2}, {"steps": 7}) == 2
    assert length({"steps": 2}, {"epochs": 3}, {"steps": 7}) == 2
    assert length({"steps": "none"}, {"epochs": 3}, {"steps": 7}) == "3 epochs"
    assert length({"seed": 1}, {"steps": 2, "epochs": 3}) == 2


def test_merging_does_not_change_the_layers():
    weak, strong = {"a": {"b": 1, "c": 2}, "d": {"e": 3}}, {"a": {"b": 4}, "d": 5}
    assert merge_settings(strong, weak) == {"a": {"b": 4, "c": 2}, "d": 5}
    assert weak == {"a": {"b": 1, "c": 2}, "d": {"e": 3}}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimiser": {}}, "optimiser: unknown setting; did you mean optimizer?"),
        ({"optimizer": {"momentun": 1}}, "optimizer.momentun: unknown setting; did you mean optimizer.mome"),
        ({"hidden": 8}, "hidden: unknown setting; did you mean network.hidden?"),
        ({"optimizer": {"batch_size": 8}}, "optimizer.batch_size: unknown setting; did you mean training.ba"),
        (
            {"zzz": 1},
            "zzz: unknown setting; the settings here are preset, data, network, optimizer, training",
        ),
        ({"kind": "adam"}, "kind: unknown setting"),
        ({"training": {"kind": "adam"}}, "training.kind: unknown setting"),
        (
            {"network": {"kind": "adam"}},
            "network.kind: unknown name 'adam'; expected one of dense, convolutional",
        ),
        ({"data": 3}, "data: 3 cannot be used; expected a table of settings, as in [data]"),
        ({"optimizer": 3}, "optimizer: 3 cannot be used; expected a table of settings, as in optimizer = {k"),
        ({"optimizer": "none"}, "optimizer: None cannot be used"),
        ({"preset": "paper-mnst"}, "preset: unknown name 'paper-mnst'; did you mean paper-mnist?"),
        ({"preset": ["paper-mnist"]}, "preset: unknown name"),
        ({"preset": "paper-mnist", "optimizer": 3}, "optimizer: 3 cannot be used"),
        ({"network": {"activation": "rleu"}}, "network.activation: 'rleu' cannot be used; expected relu, id"),
        ({"network": {"activation": "rleu"}}, "did you mean relu?"),
        (
            {"optimizer": {"kind": "lion"}},
            "optimizer.kind: unknown name 'lion'; expected one of gauss-newton, sgd",
        ),
        ({"optimizer": {"kind": ["adam"]}}, "optimizer.kind: unknown name ['adam']"),
        ({"optimizer": {"metric": {"floor": 1.0}}}, "optimizer.metric.kind: is missing; expected one of"),
        ({"training": {"schedule": "cosin"}}, "training.schedule.kind: unknown name 'cosin'; did you mean c"),
        ({"network": {"blocks": 0}}, "network.blocks: 0 cannot be used"),
        ({"network": {"blocks": 2.5}}, "network.blocks: 2.5 cannot be used; expected a whole number"),
        ({"network": {"blocks": True}}, "network.blocks: True cannot be used"),
        ({"network": {"blocks": "2"}}, "network.blocks: '2' cannot be used"),
        ({"training": {"seed": 10**400}}, "training.seed: 1000000"),
        ({"training": {"diverged_above": 10**400}}, "training.diverged_above: 1000000"),
        ({"network": {"hidden": 10**30}}, "network.hidden: 1000000000000000000000000000000 cannot be used"),
        ({"training": {"seed": 2**63}}, "training.seed: 9223372036854775808 cannot be used"),
        ({"training": {"batch_size": "ful"}}, "training.batch_size: 'ful' cannot be used; expected full"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr: 0.0 cannot be used; expected a number > 0"),
        ({"optimizer": {"lr": math.nan}}, "optimizer.lr: nan cannot be used"),
        ({"optimizer": {"lr": math.inf}}, "optimizer.lr: inf cannot be used"),
        ({"optimizer": {"solver": {"memory": "4 GBs"}}}, "optimizer.solver.memory: '4 GBs' is not a size"),
        ({"optimizer": {"solver": {"memory": "0MB"}}}, "optimizer.solver.memory: 0 cannot be used"),
        (
            {"optimizer": {"solver": {"kind": "block", "block_weights": "uniforn"}}},
            "optimizer.solver.block_weights: 'uniforn' cannot be used; expected uniform, first, last, full",
        ),
        (
            {"optimizer": {"solver": {"kind": "block", "block_weights": [0.5, 0.6]}}},
            "optimizer.solver: block_weights: (0.5, 0.6) sum to 1.1; expected 1",
        ),
        ({"training": {"label_smoothing": 1.0}}, "training.label_smoothing: 1.0 cannot be used"),
        ({"training": {"average": {"kind": "exponential", "decay": 1}}}, "training.average.decay: 1.0 can"),
        ({"data": {"name": {"x": 1}}}, "data.name"),
    ],
)
def test_mistakes_are_one_line_that_names_the_path(settings, says):
    with pytest.raises(UsageError) as caught:
        build_config(settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        (
            {"kind": "adam", "damping": 0.1},
            "optimizer.damping: adam has no damping; gauss-newton's solvers and kfac have",
        ),
        (
            {"kind": "orthogonalized", "lr": 0.1},
            "optimizer.lr: unknown setting; did you mean optimizer.inner.lr?",
        ),
        ({"damping": 0.1}, "optimizer.damping: unknown setting; did you mean optimizer.solver.damping?"),
        ({"nesterov": True}, "optimizer.nesterov: gauss-newton has no nesterov; sgd and muon have"),
        ({"kind": "adam", "history": 5}, "optimizer.history: adam has no history; lbfgs has"),
        ({"solver": {"rtol": 0.1}}, "optimizer.solver.rtol: minimum-norm has no rtol; block has"),
        ({"solver": {"tolerance": 0.1}}, "optimizer.solver.tolerance: minimum-norm has no tolerance; cg and"),
        ({"trust_radius": 1.0}, "optimizer.trust_radius: gauss-newton has no trust_radius; paced has"),
        (
            {"kind": "lbfgs", "block_samples": 9},
            "lbfgs has no block_samples; gauss-newton's solver cg's preconditioners have",
        ),
        (
            {"kind": "levenberg-marquardt", "inner": {"beta1": 0.1}},
            "optimizer.inner.beta1: gauss-newton has no beta1; adam, muon and soap have",
        ),
        ({"kind": "levenberg-marquardt", "inner": {"kind": "adam"}}, "it is always gauss-newton"),
        (
            {"kind": "levenberg-marquardt", "inner": {"solver": "cg"}},
            "optimizer: LevenbergMarquardt: the initial damping",
        ),
        ({"kind": "orthogonalized", "inner": "lbfgs"}, "Orthogonalized: LBFGS has no direction"),
        ({"kind": "paced", "inner": "levenberg-marquardt", "trust_radius": 1.0}, "Paced: LevenbergMarquardt"),
        ({"kind": "blend", "second": "lbfgs"}, "Blend: LBFGS has no direction"),
        ({"kind": "paced"}, "optimizer: Paced: has neither a trust_radius nor a length rule"),
        (
            {"kind": "switch"},
            "optimizer: Switch: switch_at is None, patience is None; set exactly one of them",
        ),
        ({"kind": "switch", "switch_at": 3, "patience": 3}, "set exactly one of them"),
        ({"kind": "sgd", "nesterov": True}, "optimizer: SGD: nesterov needs a momentum > 0"),
        ({"kind": "muon", "momentum": 0}, "optimizer: Muon: nesterov needs a momentum > 0"),
        ({"output_damping": 0.1}, "optimizer: GaussNewton: output_damping needs the exact curvature"),
        ({"solver": "block", "curvature": "exact"}, "the block-wise solver needs output_damping > 0"),
        (
            {"solver": {"outputs": "centered-logits"}, "curvature": "exact"},
            "the exact curvature already centers the logits; leave the solver's outputs at logits",
        ),
    ],
)
def test_a_setting_without_effect_is_an_error(optimizer, says):
    with pytest.raises(UsageError) as caught:
        build_config({"optimizer": optimizer})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimizer": {"name": "adam"}}, "optimizer.name: is now optimizer.kind"),
        ({"optimizer": {"inverse": "block"}}, "optimizer.inverse: is now optimizer.solver"),
        ({"optimizer": {"carry": 0.9}}, "optimizer.carry: is now optimizer.momentum"),
        ({"optimizer": {"shares": "last"}}, "optimizer.shares: is now optimizer.solver.block_weights"),
        ({"optimizer": {"schedule": "cosine"}}, "optimizer.schedule: is now training.schedule"),
        ({"optimizer": {"second_lr": 0.1}}, "optimizer.second_lr: is now optimizer.second.lr"),
        ({"data": {"validation_fraction": 0.1}}, "data.validation_fraction: is now data.validation"),
        ({"training": {"average_decay": 0.5}}, "training.average_decay: is now training.average.decay"),
        ({"optimizer": {"decay_to": "start"}}, "optimizer.decay_to: was removed, since it did not help"),
        ({"optimizer": {"trust_change": 1.0}}, "optimizer.trust_change: was removed"),
    ],
)
def test_an_old_name_gives_the_new_one(settings, says):
    with pytest.raises(UsageError) as caught:
        build_config(settings)
    assert str(caught.value).startswith(says)


def test_a_metric_of_features_needs_kept_activations():
    settings = {"optimizer": {"metric": "features"}, "network": {"activations": "rebuild"}}
    with pytest.raises(UsageError, match=r"metric features needs the activations; set network\.activations"):
        build_config(settings)


def test_a_struct_of_the_user_s_own(monkeypatch):
    """A struct with three settings, registered in one line, can be used in configurations."""

    @struct
    class Sign:
        """Sign descent."""

        lr: float = setting("Learning rate.", default=0.01, gt=0)
        beta: float = setting("Weight of the old mean.", default=0.9, ge=0, lt=1)
        nesterov: bool = setting("Nesterov's momentum.", default=False)

    monkeypatch.setitem(FAMILIES, "optimizer", dict(FAMILIES["optimizer"]))
    assert "beta" not in named_settings()
    register("optimizer", "sign", Sign)
    assert "beta" in named_settings()
    config = build_config({"optimizer": {"kind": "switch", "switch_at": 1, "second": {"kind": "sign"}}})
    assert config.optimizer == Switch(second=Sign(), switch_at=1)
    assert build_config(config_dict(config)) == config
    by_name = settings_by_name({"optimizer": "sign", "beta": 0.5, "lr": 0.1})
    assert build_config(by_name).optimizer == Sign(lr=0.1, beta=0.5)
    with pytest.raises(
        UsageError, match=r"optimizer\.beta: 1\.0 cannot be used; expected a number in \[0, 1"
    ):
        build_config({"optimizer": {"kind": "sign", "beta": 1}})


def test_a_user_defined_network_has_no_settings():
    with pytest.raises(UsageError, match=r"^network\.hidden: is not a setting of a user-defined network$"):
        build_config({"network": {"hidden": 3}}, {"network": {"kind": "own", "description": "mine"}})


def test_parts_of_a_tree():
    optimizer = Switch(Adam(), Paced(GaussNewton(BlockWise()), trust_radius=1.0), patience=3)
    kinds = [type(part) for part in parts_of(optimizer) if part is not None]
    assert kinds == [Switch, Adam, Paced, GaussNewton, BlockWise]
    faster = mapped(lambda part: Adam(lr=1.0) if isinstance(part, Adam) else part, optimizer)
    assert faster == Switch(Adam(lr=1.0), optimizer.second, patience=3)
    assert mapped(lambda part: part, optimizer) is optimizer


def test_averages_are_structs():
    assert build_config({"training": {"average": {"kind": "tail", "tail_start": 0.5}}}).training.average == (
        Tail(0.5)
    )
    assert Config().training.average is None


def test_an_old_kind_gets_its_new_name():
    assert build_config({"network": {"kind": "couplings", "hidden": 9}}).network == Architecture(hidden=9)
    assert build_config({"network": "couplings"}).network == Architecture()


def test_the_kind_of_the_network_selects_its_settings():
    table = {"kind": "convolutional", "blocks": [1], "hidden": [8]}
    assert build_config({"network": table}).network == Convolutional(blocks=(1,), hidden=(8,))
    with pytest.raises(UsageError, match="channels: dense has no channels; convolutional has"):
        build_config({"network": {"channels": 8}})


def test_none_is_read_as_the_type_of_its_setting_has_it():
    """Files have no None, and options read every "none" as None."""
    for none in (None, "none"):
        config = build_config({"training": {"diverged_above": none}, "data": {"augmentation": none}})
        assert (config.training.diverged_above, config.data.augmentation) == (None, "none")
        config = build_config({"training": {"diverged_above": none}}, {"training": {"diverged_above": 10.0}})
        assert config.training.diverged_above is None
    with pytest.raises(UsageError, match=r"training\.seed: 'none' cannot be used"):
        build_config({"training": {"seed": "none"}})


@pytest.mark.parametrize("layer", [None, [1], "optimizer"])
def test_settings_that_are_no_dict_are_refused(layer):
    with pytest.raises(UsageError, match=r"settings: .* cannot be used; expected a dict, as in \{"):
        build_config(layer)
