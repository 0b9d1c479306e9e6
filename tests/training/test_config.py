"""Settings: who wins, what is refused and in which words, and the way to TOML and back."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from revgn.errors import UsageError
from revgn.networks import REFERENCE, parameter_count
from revgn.settings import (
    PRESETS,
    Config,
    build_config,
    config_dict,
    config_toml,
    flat,
    merge_settings,
    nested,
    parse_assignment,
    parse_size,
    parse_toml,
)


def setting(path, *layers):
    return flat(config_dict(build_config(*layers)))[path]


def test_the_stronger_wins():
    option = {"network": {"blocks": 3}}
    file = {"network": {"blocks": 4, "hidden": 40}, "preset": "paper-cifar10"}
    assert setting("network.blocks", option, file) == 3
    assert setting("network.hidden", option, file) == 40
    assert setting("network.first_block", option, file) == "identity"  # of the preset
    assert setting("data.crop", option, file) is True
    assert setting("training.batch_size", option, file) == 1024
    assert setting("network.activation", option, file) == "relu"  # the default
    assert setting("network.blocks", file) == 4
    assert setting("network.blocks", {"preset": "paper-cifar10"}) == 6
    assert setting("data.name", {"preset": "paper-mnist"}, file) == "mnist"  # an option's preset too
    assert setting("network.blocks") == 2


@pytest.mark.parametrize(
    ("name", "lr"),
    [
        ("gauss-newton", 1.0),
        ("sgd", 0.1),
        ("adam", 1e-3),
        ("muon", 0.02),
        ("kfac", 0.03),
        ("lbfgs", 1.0),
    ],
)
def test_each_optimizer_has_a_rate_of_its_own(name, lr):
    assert setting("optimizer.lr", {"optimizer": {"name": name}}) == lr
    assert setting("optimizer.lr", {"optimizer": {"name": name, "lr": 0.7}}) == 0.7


def test_some_have_other_defaults_of_their_own():
    """Weaker than whatever is given, also if what is given is the default of the others."""
    muon, kfac, sgd = ({"optimizer": {"name": name}} for name in ("muon", "kfac", "sgd"))
    momenta = [setting("optimizer.momentum", each) for each in (muon, kfac, sgd)]
    assert momenta == [0.95, 0.9, 0.0]
    assert setting("optimizer.nesterov", muon) is True
    assert setting("optimizer.damping", kfac) == 0.03
    given = {"optimizer": {"momentum": 0.0, "nesterov": False}}
    assert setting("optimizer.momentum", given, muon) == 0.0
    assert setting("optimizer.nesterov", given, muon) is False
    preset = build_config(muon, {"preset": "paper-mnist"})
    assert (preset.optimizer.momentum, preset.training.batch_size) == (0.95, 1024)


def test_a_second_optimizer_has_its_own_rate_and_defaults():
    """Defaults of its settings where the first does not use them."""
    muon = {"optimizer": {"hybrid": "switch", "second": "muon", "switch_at": 3}}
    assert setting("optimizer.second_lr", muon) == 0.02
    assert setting("optimizer.momentum", muon) == 0.95
    assert setting("optimizer.lr", muon) == 1.0
    assert setting("optimizer.second_lr", {"optimizer": {"second_lr": 0.5}}, muon) == 0.5
    after_sgd = {"optimizer": {"name": "sgd"}}
    assert setting("optimizer.momentum", after_sgd, muon) == 0.0
    assert setting("optimizer.damping", {"optimizer": {"second": "kfac"}}, muon) == 0.0


@pytest.mark.parametrize(
    ("preset", "features", "weights"),
    [("paper-mnist", 784, 12_545_568), ("paper-cifar10", 3072, 147_474_432)],
)
def test_presets_are_the_papers(preset, features, weights):
    assert set(PRESETS) == set(REFERENCE)
    config = build_config({"preset": preset})
    assert parameter_count(REFERENCE[preset], features) == weights
    assert 2 * config.network.blocks * (config.network.hidden + 1) * features // 2 == weights
    assert (config.training.batch_size, config.training.epochs) == (1024, 100)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimiser": {}}, "optimiser: unknown setting; did you mean optimizer?"),
        ({"optimizer": {"momentun": 1}}, "optimizer.momentun: unknown setting; did you mean optimizer.mom"),
        ({"hidden": 8}, "hidden: unknown setting; did you mean network.hidden?"),
        (
            {"optimizer": {"batch_size": 8}},
            "optimizer.batch_size: unknown setting; did you mean training.batch",
        ),
        ({"zzz": 1}, "zzz: unknown setting; known here are preset, data, network, optimizer, training"),
        ({"network": 3}, "network: a section is expected here, such as network.blocks"),
        ({"preset": "paper-mnst"}, "preset: unknown name 'paper-mnst'; did you mean paper-mnist?"),
        ({"preset": ["paper-mnist"]}, "preset: unknown name"),
        (
            {"network": {"activation": "rleu"}},
            "network.activation: 'rleu' is not one of relu, identity, tanh",
        ),
        ({"network": {"activation": "rleu"}}, "did you mean relu?"),
        (
            {"optimizer": {"name": "lion"}},
            "optimizer.name: 'lion' is not one of gauss-newton, sgd, adam, muon, kfac, lbfgs",
        ),
        ({"network": {"blocks": 0}}, "network.blocks: 0 cannot be used"),
        ({"network": {"blocks": 2.5}}, "network.blocks: 2.5 cannot be used"),
        ({"network": {"blocks": True}}, "network.blocks: True cannot be used"),
        ({"network": {"blocks": "2"}}, "network.blocks: '2' cannot be used"),
        ({"network": {"hidden": 10**30}}, "network.hidden: 1000000000000000000000000000000 cannot be used"),
        ({"training": {"seed": -1}}, "training.seed: -1 cannot be used"),
        ({"training": {"seed": 2**63}}, "training.seed: 9223372036854775808 cannot be used"),
        ({"training": {"batch_size": "ful"}}, "training.batch_size: 'ful' is not one of full"),
        ({"training": {"batch_size": 0}}, "training.batch_size: 0 cannot be used"),
        ({"training": {"dtype": "float16"}}, "training.dtype: 'float16' is not one of float32, float64"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr: 0 cannot be used"),
        ({"optimizer": {"lr": math.nan}}, "optimizer.lr: nan cannot be used"),
        ({"optimizer": {"lr": math.inf}}, "optimizer.lr: inf cannot be used; expected a finite number"),
        ({"optimizer": {"damping": -1.0}}, "optimizer.damping: -1.0 cannot be used"),
        ({"optimizer": {"floor": 1.5}}, "optimizer.floor: 1.5 cannot be used"),
        ({"optimizer": {"inverse": "block", "shares": "uniforn"}}, "did you mean uniform?"),
        ({"optimizer": {"inverse": "block", "shares": [0.5, "a"]}}, "optimizer.shares"),
        ({"data": {"test_fraction": 1.0}}, "data.test_fraction: 1.0 cannot be used"),
        ({"data": {"name": {"x": 1}}}, "data.name"),
    ],
)
def test_mistakes_are_one_line_that_names_the_path(settings, says):
    with pytest.raises(UsageError) as caught:
        build_config(settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"momentum": 0.9}, "optimizer.momentum: gauss-newton with inverse minimum-norm does not use it"),
        ({"name": "adam", "nesterov": True}, "optimizer.nesterov: adam does not use it"),
        ({"name": "sgd", "beta1": 0.5}, "optimizer.beta1: sgd does not use it"),
        ({"name": "sgd", "damping": 0.1}, "optimizer.damping: sgd does not use it"),
        ({"name": "adam", "inverse": "block"}, "optimizer.inverse: adam does not use it"),
        ({"name": "muon", "damping": 0.1}, "optimizer.damping: muon does not use it"),
        ({"name": "kfac", "nesterov": True}, "optimizer.nesterov: kfac does not use it"),
        ({"name": "lbfgs", "momentum": 0.9}, "optimizer.momentum: lbfgs does not use it"),
        ({"name": "adam", "history": 5}, "optimizer.history: adam does not use it"),
        ({"name": "muon", "kl_clip": 1.0}, "optimizer.kl_clip: muon does not use it"),
        ({"factor_every": 2}, "optimizer.factor_every: gauss-newton with inverse minimum-norm does not"),
        ({"shares": "last"}, "optimizer.shares: gauss-newton with inverse minimum-norm does not use it"),
        ({"rtol": 0.01}, "optimizer.rtol"),
        ({"inverse": "block", "outputs": "contrasts"}, "optimizer.outputs: gauss-newton with inverse block"),
        ({"output_damping": 0.1}, "optimizer.output_damping: gauss-newton with curvature identity does not"),
        ({"tolerance": 0.1}, "optimizer.tolerance: gauss-newton with solver dense does not use it"),
        ({"inverse": "block", "solver": "cg"}, "optimizer.solver: gauss-newton with inverse block does not"),
        (
            {"solver": "cg", "preconditioner": "none", "directions": 9},
            "optimizer.directions: cg without preconditioner does not use it",
        ),
        (
            {"solver": "auto", "preconditioner": "none", "directions": 9},
            "optimizer.directions: cg without preconditioner does not use it",
        ),
        (
            {"solver": "auto", "inverse": "block"},
            "optimizer.solver: gauss-newton with inverse block does not",
        ),
        ({"solver": "cg", "memory": 10**9}, "optimizer.memory: gauss-newton with solver cg does not use it"),
        ({"inverse": "block", "memory": 9}, "optimizer.memory: gauss-newton with inverse block does not use"),
        ({"name": "adam", "memory": 9}, "optimizer.memory: adam does not use it"),
        ({"memory": "4 GBs"}, "optimizer.memory: '4 GBs' is not a size; expected bytes, or such as 500MB"),
        ({"memory": "-1GB"}, "optimizer.memory: '-1GB' is not a size"),
        ({"memory": "iB"}, "optimizer.memory: 'iB' is not a size"),
        ({"memory": "0MB"}, "optimizer.memory: 0 cannot be used"),
        ({"solver": "cg", "tolerance": 0}, "optimizer.tolerance: 0 cannot be used"),
        ({"solver": "cg", "preconditioner": "kronecker"}, "'kronecker' is not one of blocks, none"),
        ({"damping_max": 9.0}, "optimizer.damping_max: gauss-newton without adapt_damping does not use it"),
        ({"inverse": "block", "curvature": "exact"}, "through optimizer.output_damping; give it a number"),
        ({"curvature": "exact", "outputs": "contrasts"}, "optimizer.outputs: the exact curvature takes"),
        ({"adapt_damping": True}, "optimizer.adapt_damping: a first damping is missing"),
        ({"metric_floor": 0.5}, "optimizer.metric_floor: gauss-newton with metric identity does not use it"),
        ({"name": "adam", "metric": "features"}, "optimizer.metric: adam does not use it"),
        ({"metric": "features", "metric_mean": 1.0}, "optimizer.metric_mean: 1.0 cannot be used"),
        ({"name": "muon", "orthogonal": True}, "optimizer.orthogonal: muon does not use it"),
        (
            {"orthogonal": True, "adapt_damping": True, "damping": 1.0},
            "optimizer.orthogonal: adapt_damping judges its own steps",
        ),
        (
            {"hybrid": "blend", "second": "adam", "adapt_damping": True, "damping": 1.0},
            "optimizer.adapt_damping: judges its own steps, so it is no part of hybrid blend",
        ),
        ({"halvings": 3}, "optimizer.halvings: optimizer.length_rule fixed does not use it"),
        ({"second": "adam"}, "optimizer.second: optimizer.hybrid none does not use it"),
        ({"hybrid": "agreement", "second": "adam"}, "optimizer.second: optimizer.hybrid agreement does not"),
        (
            {"hybrid": "blend", "second": "adam", "switch_at": 3},
            "optimizer.switch_at: optimizer.hybrid blend",
        ),
        ({"hybrid": "blend", "second": "adam", "history": 3}, "optimizer.history: gauss-newton with"),
        (
            {"name": "sgd", "hybrid": "blend", "second": "adam", "carry": 0.5},
            "optimizer.carry: sgd with adam does not use it",
        ),
        ({"hybrid": "blend"}, "optimizer.second: is None; hybrid blend is of gauss-newton and another"),
        ({"hybrid": "blend", "second": "gauss-newton"}, "optimizer.second: is gauss-newton; hybrid blend"),
        ({"hybrid": "switch", "second": "adam"}, "optimizer.switch_at: a switch takes either this or"),
        (
            {"hybrid": "switch", "second": "adam", "switch_at": 3, "patience": 3},
            "optimizer.switch_at: a switch takes either this or optimizer.patience",
        ),
        ({"hybrid": "couplings", "second": "adam"}, "optimizer.couplings: is missing; list those"),
        (
            {"hybrid": "couplings", "second": "adam", "couplings": [0], "inverse": "block"},
            "optimizer.hybrid: couplings takes the minimum norm; the block inverse is of whole blocks",
        ),
        ({"decay_to": "start"}, "optimizer.decay_to: a decay towards the start needs optimizer.weight_decay"),
        ({"inverse": "block", "eps": 1.0}, "optimizer.eps: gauss-newton with inverse block does not use it"),
    ],
)
def test_what_the_optimizer_does_not_use_is_refused(settings, says):
    with pytest.raises(UsageError, match=says):
        build_config({"optimizer": settings})
    default = {name: config_dict(Config())["optimizer"][name] for name in ("momentum", "eps", "damping")}
    build_config({"optimizer": {"name": "adam", **default}})  # a default, written out, is no mistake


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"average_decay": 0.9}, "training.average_decay: training.average none does not use it"),
        ({"average": "tail", "average_decay": 0.9}, "training.average_decay: training.average tail does not"),
        ({"average": "exponential", "average_from": 0.5}, "training.average_from: training.average exp"),
        ({"average": "exponential", "average_decay": 1}, "training.average_decay: 1 cannot be used"),
        ({"average": "tail", "average_from": 1.0}, "training.average_from: 1.0 cannot be used"),
        ({"average": "ema"}, "training.average: 'ema' is not one of none, exponential, tail"),
        ({"label_smoothing": 1.0}, "training.label_smoothing: 1.0 cannot be used"),
        ({"label_smoothing": -0.1}, "training.label_smoothing: -0.1 cannot be used"),
    ],
)
def test_averages_and_smoothing_that_cannot_be(settings, says):
    with pytest.raises(UsageError, match=says):
        build_config({"training": settings})


def test_a_metric_of_features_keeps_them():
    settings = {"optimizer": {"metric": "features"}, "network": {"activations": "rebuild"}}
    with pytest.raises(UsageError, match=r"optimizer.metric: features has to keep them; take network\.act"):
        build_config(settings)


positive = st.floats(1e-300, 1e300)
shares = st.sampled_from(["uniform", "first", "last", "full-rank"]) | st.lists(
    st.floats(-10, 10, width=32), min_size=1, max_size=4
)
OPTIMIZERS = st.one_of(
    st.fixed_dictionaries({}, optional={"damping": positive}),
    st.fixed_dictionaries(
        {"inverse": st.just("block")}, optional={"shares": shares, "rtol": st.none() | positive}
    ),
    st.fixed_dictionaries({"name": st.just("sgd")}, optional={"momentum": st.floats(0, 0.99)}),
    st.fixed_dictionaries({"name": st.just("adam")}, optional={"beta1": st.floats(0, 0.99), "eps": positive}),
    st.fixed_dictionaries(
        {"name": st.just("muon")}, optional={"momentum": st.floats(0, 0.99), "nesterov": st.booleans()}
    ),
    st.fixed_dictionaries(
        {"name": st.just("kfac")}, optional={"damping": positive, "kl_clip": st.none() | positive}
    ),
    st.fixed_dictionaries({"name": st.just("lbfgs")}, optional={"history": st.integers(1, 99)}),
    st.fixed_dictionaries(
        {"hybrid": st.just("switch"), "second": st.sampled_from(["adam", "muon"]), "patience": st.just(3)},
        optional={"second_lr": positive, "trust_radius": positive},
    ),
    st.fixed_dictionaries(
        {
            "hybrid": st.just("couplings"),
            "inverse": st.just("minimum-norm"),
            "second": st.just("sgd"),
            "couplings": st.lists(st.integers(0, 99), min_size=1, max_size=4),
        }
    ),
)
SCHEDULES = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.none() | positive,
        "schedule": st.sampled_from(["constant", "cosine", "step"]),
        "warmup": st.integers(0, 100),
        "weight_decay": positive,
    },
)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "preset": st.sampled_from(sorted(PRESETS)),
        "data": st.fixed_dictionaries(
            {}, optional={"name": st.text(st.characters(exclude_categories=["Cs"])), "crop": st.booleans()}
        ),
        "network": st.fixed_dictionaries({}, optional={"blocks": st.integers(1, 99)}),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "batch_size": st.integers(1, 10**9) | st.just("full"),
                "steps": st.none() | st.integers(1, 10**9),
                "seed": st.integers(0, 2**63 - 1),
            },
        ),
    },
)


@given(CONFIGS, OPTIMIZERS, SCHEDULES)
def test_toml_and_back(settings, optimizer, schedule):
    config = build_config(settings, {"optimizer": optimizer | schedule})
    assert build_config(parse_toml(config_toml(config), "config.toml")) == config
    assert build_config(config_dict(config)) == config


def test_what_is_not_toml_is_one_line():
    with pytest.raises(UsageError, match=r"^own\.toml: not TOML: .*line 2"):
        parse_toml("a = 1\nb = = 2\n", "own.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer.lr=0.5", {"optimizer": {"lr": 0.5}}),
        ("training.steps=12", {"training": {"steps": 12}}),
        ("training.steps=none", {"training": {"steps": None}}),
        ("training.batch_size=full", {"training": {"batch_size": "full"}}),
        ('data.name="a b"', {"data": {"name": "a b"}}),
        ("data.name=a b=c", {"data": {"name": "a b=c"}}),
        ("data.crop=true", {"data": {"crop": True}}),
        ("optimizer.shares=[0.5, 0.5]", {"optimizer": {"shares": [0.5, 0.5]}}),
        (" optimizer.lr = 1e-3 ", {"optimizer": {"lr": 1e-3}}),
        ("preset=paper-mnist", {"preset": "paper-mnist"}),
        ("data.target=", {"data": {"target": ""}}),
    ],
)
def test_assignments(text, expected):
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["optimizer.lr", "=3", ""])
def test_an_assignment_needs_a_key_and_a_value(text):
    with pytest.raises(UsageError, match=r"expected key=value, such as optimizer\.lr=0\.5"):
        parse_assignment(text)


def test_dotted_paths_and_nested_settings():
    assert nested("a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert flat({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a.b.c": 1, "a.d": 2, "e": 3}
    weak, strong = {"a": {"b": 1, "c": 2}, "d": {"e": 3}}, {"a": {"b": 4}, "d": 5}
    assert merge_settings(strong, weak) == {"a": {"b": 4, "c": 2}, "d": 5}
    assert weak == {"a": {"b": 1, "c": 2}, "d": {"e": 3}}


def test_a_preset_of_the_paper_brings_its_step_unless_another_is_asked_for():
    paper = build_config({"preset": "paper-mnist"}).optimizer
    assert (paper.inverse, paper.shares, paper.rtol, paper.atol, paper.lr) == (
        "block",
        "uniform",
        1e-2,
        1e-5,
        0.1,
    )
    other = build_config({"preset": "paper-mnist", "optimizer": {"inverse": "minimum-norm"}}).optimizer
    assert (other.rtol, other.lr) == (None, 1.0)
    adam = build_config({"preset": "paper-mnist", "optimizer": {"name": "adam"}})
    assert (adam.optimizer.lr, adam.network.hidden, adam.training.batch_size) == (1e-3, 8000, 1024)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65536", 65536),
        ("12 B", 12),
        ("500MB", 5 * 10**8),
        (" 1.5 gb ", 1_500_000_000),
        (".5kB", 500),
        ("2TB", 2 * 10**12),
        ("4KiB", 4096),
        ("1.5GiB", 3 * 2**29),
    ],
)
def test_sizes_have_units(text, size):
    assert parse_size(text) == size
    assert build_config({"optimizer": {"memory": text}}).optimizer.memory == size
    assert build_config({"optimizer": {"memory": size}}).optimizer.memory == size


@pytest.mark.parametrize("text", ["", "B", "1iB", "GB", "1.2.3", "1e9", "4PB", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="is not a size; expected bytes"):
        parse_size(text)
