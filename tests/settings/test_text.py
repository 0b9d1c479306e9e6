"""Settings as text: TOML, the commented file of all settings, assignments and sizes."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from revgn.errors import UsageError
from revgn.settings import (
    FAMILIES,
    PRESETS,
    Config,
    build_config,
    changed_settings,
    config_dict,
    config_template,
    config_toml,
    flat,
    nested,
    parse_assignment,
    parse_size,
    parse_toml,
)
from revgn.settings.options import named_settings

KINDS = {  # a table for each kind, with its required settings
    kind: {"kind": kind} | {"paced": {"trust_radius": 2.0}, "switch": {"patience": 3}}.get(kind, {})
    for kind in FAMILIES["optimizer"]
}
ALONE = [kind for kind in KINDS if kind not in ("paced", "switch", "levenberg-marquardt", "lbfgs")]
TREES = [
    *({"optimizer": table} for table in KINDS.values()),
    *({"optimizer": {"kind": wrapper, "inner": kind}} for wrapper in ("orthogonalized",) for kind in ALONE),
    *({"optimizer": KINDS["paced"] | {"length": "backtracking", "inner": {"kind": kind}}} for kind in ALONE),
    *({"optimizer": KINDS["switch"] | {"second": table, "first": table}} for table in KINDS.values()),
    *({"optimizer": {"kind": "blend", "second": {"kind": kind}}} for kind in ALONE),
    *({"optimizer": {"solver": solver}} for solver in FAMILIES["solver"]),
    {"optimizer": {"solver": {"kind": "cg", "preconditioner": "none"}, "metric": "features"}},
    {"optimizer": {"solver": {"kind": "block", "block_weights": [0.25, 0.75], "rtol": 0.01}}},
    {"network": {"kind": "convolutional", "blocks": [1, 2, 1], "hidden": [8, 16, 32]}},
    *({"training": {"schedule": kind}} for kind in FAMILIES["schedule"]),
    *({"training": {"average": kind}} for kind in FAMILIES["average"]),
    *({"training": {"loss": kind}} for kind in FAMILIES["loss"]),
    *({"preset": name} for name in PRESETS),
    {"training": {"diverged_above": None}},
    {"preset": "paper-mnist-full-batch", "data": {"subset": None}, "training": {"diverged_above": None}},
    {"data": {"name": 'a "b"\n.npz'}, "training": {"batch_size": "full"}, "optimizer": {"solver": "auto"}},
]


@pytest.mark.parametrize("settings", TREES, ids=lambda tree: " ".join(map(str, flat(tree).values())))
def test_written_settings_are_read_back(settings):
    config = build_config(settings)
    assert build_config(config_dict(config)) == config
    assert build_config(parse_toml(config_toml(config), "config.toml")) == config
    text = config_template(config)
    assert build_config(parse_toml(text, "template")) == config
    assert max(map(len, text.splitlines())) <= 110
    written = re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE) + re.findall(
        r"^\[(?:.*\.)?(\w+)\]$", text, re.MULTILINE
    )
    of_tree = {part for path in flat(config_dict(config)) for part in path.split(".")}
    assert of_tree == set(written)


positive = st.floats(1e-300, 1e300)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "data": st.fixed_dictionaries(
            {},
            optional={
                "name": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
                "standardize_targets": st.booleans(),
            },
        ),
        "optimizer": st.one_of(
            st.fixed_dictionaries({"kind": st.just("adam"), "lr": positive, "eps": positive}),
            st.fixed_dictionaries({"solver": st.fixed_dictionaries({"damping": positive})}),
            st.fixed_dictionaries({"momentum_limit": st.floats(1, allow_infinity=True, allow_nan=False)}),
        ),
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


@given(CONFIGS)
def test_every_value_is_read_back_bit_for_bit(settings):
    config = build_config(settings)
    assert build_config(parse_toml(config_toml(config), "config.toml")) == config
    assert build_config(config_dict(config)) == config


def test_none_is_written_only_where_it_is_needed():
    found = [config_toml(build_config({"training": {"diverged_above": limit}})) for limit in (1000.0, None)]
    assert {*found[1].splitlines()} - {*found[0].splitlines()} == {'diverged_above = "none"'}


def test_every_setting_has_a_meaning():
    for name, found in named_settings().items():
        for of in found:
            assert re.fullmatch(r"\S.{4,200}\.", of.meaning), name
    text = config_template(Config()).replace("\n# ", " ")
    assert "\n Learning rate schedule; one of constant, cosine, step.\n[training.schedule]" in text
    assert "(default 512)" in text
    assert ' metric = {kind = "..."}' in text


def test_settings_that_differ_from_the_defaults():
    settings = {"optimizer": {"kind": "adam", "lr": 1e-3}, "network": {"blocks": 3}}
    assert changed_settings(build_config(settings)) == {"network.blocks": 3, "optimizer.kind": "adam"}
    inner = {"optimizer": {"kind": "orthogonalized", "inner": {"kind": "gauss-newton", "rho_every": 5}}}
    assert changed_settings(build_config(inner)) == {
        "optimizer.kind": "orthogonalized",
        "optimizer.inner.rho_every": 5,
    }
    solver = {"optimizer": {"solver": {"kind": "block", "rtol": 0.1}}, "training": {"average": "tail"}}
    assert changed_settings(build_config(solver)) == {
        "optimizer.solver.kind": "block",
        "optimizer.solver.rtol": 0.1,
        "training.average.kind": "tail",
    }
    assert changed_settings(Config()) == {}


def test_a_toml_syntax_error_is_one_line():
    with pytest.raises(UsageError, match=r"^own\.toml: not TOML: line 2, column 5: 'b = = 2'; expected key"):
        parse_toml("a = 1\nb = = 2\n", "own.toml")
    with pytest.raises(
        UsageError, match=r"^own\.toml: not TOML: line 1, column 8: 'kind = adam'; .* in quotation"
    ):
        parse_toml("kind = adam\n", "own.toml")
    for text in ("[a", "a", 'a = """x'):
        with pytest.raises(UsageError, match=r"^own\.toml: not TOML: the file ends within"):
            parse_toml(text, "own.toml")


@pytest.mark.parametrize(
    "text",
    [
        "[training]\nseed = 1\nseed = 1",
        "[a]\n\n[a]\n",
        "training.seed = 1\n\ntraining = {steps = 2}",
        "\n\na = {b = 1, b = 2}\n",
        "[a]\nb = {c = 1}\n[a.b]\nd = 2",
    ],
)
def test_a_setting_that_is_given_twice_is_named(text):
    line = text.split("\n")[2]
    with pytest.raises(UsageError) as caught:
        parse_toml(text, "own.toml")
    assert str(caught.value) == f"own.toml: line 3: {line!r}: the setting or table is given twice"


def test_a_file_of_data_is_no_file_of_settings():
    with pytest.raises(UsageError, match=r"^own/x\.CSV: holds data, not settings in TOML; use --data own/x"):
        parse_toml("a,b\n1,2\n", "own/x.CSV")


def test_a_byte_order_mark_is_ignored():
    assert parse_toml("\ufeffa = 1\n", "own.toml") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("optimizer.lr=0.5", "optimizer.lr", 0.5),
        ("optimizer.lr=.5", "optimizer.lr", 0.5),
        ("optimizer.lr=5.", "optimizer.lr", 5.0),
        ("optimizer.lr=-.5e-3", "optimizer.lr", -5e-4),
        ("training.steps=none", "training.steps", None),
        ("training.batch_size=full", "training.batch_size", "full"),
        ('data.name="a b"', "data.name", "a b"),
        ("data.name=a b=c", "data.name", "a b=c"),
        ("data.standardize_targets=true", "data.standardize_targets", True),
        ("optimizer.solver.block_weights=[0.5, 0.5]", "optimizer.solver.block_weights", [0.5, 0.5]),
        ('optimizer={kind="adam"}', "optimizer", {"kind": "adam"}),
        (" optimizer.lr = 1e-3 ", "optimizer.lr", 1e-3),
        ("data.target=", "data.target", ""),
    ],
)
def test_assignments(text, path, value):
    assert parse_assignment(text) == (path, value)


@pytest.mark.parametrize("text", ["optimizer.lr", "=3", ""])
def test_an_assignment_needs_a_key_and_a_value(text):
    with pytest.raises(UsageError, match=r"expected key=value, such as optimizer\.lr=0\.5"):
        parse_assignment(text)


def test_dotted_paths_and_nested_settings():
    assert nested("a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert flat({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a.b.c": 1, "a.d": 2, "e": 3}


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
    for memory in (text, size):
        assert build_config({"optimizer": {"solver": {"memory": memory}}}).optimizer.solver.memory == size


@pytest.mark.parametrize("text", ["", "B", "1iB", "GB", "1.2.3", "1e9", "4PB", "nan"])
def test_an_invalid_size_is_refused(text):
    with pytest.raises(UsageError, match="is not a size; expected bytes"):
        parse_size(text)
