"""Plans of sweeps: axes, grids, variants and random draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revgn.errors import UsageError
from revgn.settings import build_config
from revgn.sweeps import Plan, parse_axis, parse_plan, plan_toml, plan_trials
from revgn.sweeps.axes import draw
from revgn.sweeps.extend import differences
from revgn.sweeps.plan import with_files_found

FILE = """
[training]
schedule = "cosine"

[variants.block]
optimizer.solver = "block"

[variants.adam]
optimizer = {kind = "adam"}

[grid]
lr = "log:0.01..1:3"
seed = "0..1"
"""


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1,0.3,1", (0.1, 0.3, 1)),
        ("0..4", (0, 1, 2, 3, 4)),
        ("-1..1", (-1, 0, 1)),
        ("0.1..0.9:5", (0.1, 0.3, 0.5, 0.7, 0.9)),
        ("log:1e-3..1:4", (1e-3, 1e-2, 1e-1, 1.0)),
        ("0..1:3", (0.0, 0.5, 1.0)),
        ("block, minimum-norm", ("block", "minimum-norm")),
        ("true,false", (True, False)),
        ("none,3", (None, 3)),
        ("[0.5,0.5]", ([0.5, 0.5],)),
        ([1, "none"], (1, None)),
        (7, (7,)),
        ("../a.csv,../b.csv", ("../a.csv", "../b.csv")),
        ("data/../a.csv", ("data/../a.csv",)),
    ],
)
def test_values(text, values):
    assert parse_axis("x", text).values == values


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("hidden", "log:16..64:3", (16, 32, 64)),
        ("training.seed", "0..9:4", (0, 3, 6, 9)),
        ("network.blocks", "1..3:5", (1, 2, 3)),
        ("optimizer.lr", "0..9:4", (0.0, 3.0, 6.0, 9.0)),
    ],
)
def test_ranges_of_settings_that_take_whole_numbers_are_rounded(name, text, values):
    found = parse_axis(name, text).values
    assert found == values
    assert {type(value) for value in found} == {type(values[0])}
    drawn = draw(parse_axis(name, "log:16..64"), np.random.default_rng(0))
    assert type(drawn) is type(values[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1..0", "low < high"),
        ("log:0..1", "0 < low < high"),
        ("a..b", "expected numbers"),
        ("0..x", "expected numbers"),
        ("0../1", "expected numbers"),
        ("0..1e9:1", "has 1 values"),
        ("0..10000000", "at most 100,000"),
        ("0.1..inf", "both finite"),
        ([], "has no value"),
        ("1,2020-01-01", "1, 2020-01-01: expected numbers, text or lists of these"),
    ],
)
def test_invalid_axes_are_rejected(text, message):
    with pytest.raises(UsageError, match=f"grid x: .*{message}"):
        parse_axis("x", text)


@pytest.mark.parametrize("text", ["0.2..0.9", "log:2.1..2.9", "1.2..1.8:3"])
def test_a_range_without_a_whole_number_is_rejected_for_a_setting_that_takes_no_others(text):
    with pytest.raises(UsageError, match=f"grid hidden: '{text}' contains no whole number"):
        parse_axis("hidden", text)
    assert parse_axis("lr", text).low in (0.2, 2.1) or parse_axis("lr", text).values == (1.2, 1.5, 1.8)


@given(st.integers(0, 2**32), st.booleans())
def test_draws_lie_in_their_range(seed, log):
    axis = parse_axis("x", "log:1e-3..1" if log else "0.5..0.75")
    assert axis.is_continuous
    assert axis.low <= draw(axis, np.random.default_rng(seed)) <= axis.high
    assert draw(parse_axis("x", "a,b"), np.random.default_rng(seed)) in ("a", "b")


def test_draws_are_uniform_in_the_logarithm():
    axis, rng = parse_axis("x", "log:1e-4..1"), np.random.default_rng(0)
    assert np.mean([draw(axis, rng) < 1e-2 for _ in range(2000)]) == pytest.approx(0.5, abs=0.05)


def test_variants_and_points():
    trials = plan_trials(parse_plan(FILE, "file"))
    assert len(trials) == len({trial.name for trial in trials}) == 2 * 3 * 2
    first, second = trials[:2]
    assert first.name.startswith("block_lr=0.01_seed=0_")
    assert second.choices == {"variant": "block", "lr": 0.01, "training.seed": 1}
    assert second.settings == {
        "training": {"schedule": "cosine", "seed": 1},
        "optimizer": {"solver": "block", "lr": 0.01},
    }
    assert trials[6].settings["optimizer"] == {"kind": "adam", "lr": 0.01}


def test_epochs_of_the_grid_replace_the_steps_of_the_plan():
    plan = parse_plan("[training]\nsteps = 2\n[grid]\nepochs = [1, 3]", "file")
    found = [build_config(trial.settings).training for trial in plan_trials(plan)]
    assert [(training.steps, training.epochs) for training in found] == [(None, 1), (None, 3)]


def test_the_path_of_a_setting_depends_on_the_optimizer():
    """For Gauss-Newton, damping belongs to the solver; for K-FAC, it belongs to the optimizer."""
    axes = (parse_axis("optimizer", "gauss-newton,kfac"), parse_axis("damping", "0.1,0.2"))
    trials = plan_trials(Plan({}, axes))
    assert [trial.settings["optimizer"] for trial in trials[1:3]] == [
        {"kind": "gauss-newton", "solver": {"damping": 0.2}},
        {"kind": "kfac", "damping": 0.1},
    ]
    assert trials[0].name.startswith("optimizer=gauss-newton_damping=0.1_")
    axes = (parse_axis("damping", "0.1"), parse_axis("solver", "block,cg"), parse_axis("rtol", "0.01"))
    with pytest.raises(
        UsageError, match=r"trial damping=0\.1_solver=cg_rtol=0\.01: rtol: cg has no rtol; block"
    ):
        plan_trials(Plan({}, axes))


def test_a_setting_of_two_optimizers_refers_to_the_first():
    """The full path selects the setting of the other optimizer."""
    switch = {"optimizer": {"kind": "switch", "switch_at": 3, "second": {"lr": 0.3}}}
    axes = (parse_axis("lr", "0.01"), parse_axis("optimizer.second.momentum", "0.5"))
    (trial,) = plan_trials(Plan(switch, axes))
    assert trial.settings["optimizer"] == {
        "kind": "switch",
        "switch_at": 3,
        "first": {"lr": 0.01},
        "second": {"lr": 0.3, "momentum": 0.5},
    }


def test_none_for_a_struct_survives_the_file():
    plan = Plan({"optimizer": {"solver": {"kind": "cg"}}}, (parse_axis("preconditioner", "none,blocks"),))
    assert parse_plan(plan_toml(plan), "again").axes == plan.axes
    (trial, _) = plan_trials(plan)
    fixed = Plan(trial.settings, (parse_axis("training.seed", "0"),))
    assert plan_trials(parse_plan(plan_toml(fixed), "again"))[0].settings == plan_trials(fixed)[0].settings


@pytest.mark.parametrize("extra", ["", "[sweep]\nrandom = 5\nrandom_seed = 3\n"])
def test_a_plan_survives_its_file(extra):
    plan = parse_plan(FILE + extra, "file")
    again = parse_plan(plan_toml(plan), "again")
    assert [trial.name for trial in plan_trials(again)] == [trial.name for trial in plan_trials(plan)]


def test_ranges_and_none_survive_the_file():
    plan = Plan({}, (parse_axis("optimizer.lr", "log:1e-3..1"), parse_axis("training.steps", "none,3")))
    assert parse_plan(plan_toml(plan), "again").axes == plan.axes


def test_none_of_the_settings_survives_the_file():
    """TOML has no None; the trials of the file have the same names, so that none of them is run again."""
    settings = {"training": {"diverged_above": None, "average": None}}
    plan = Plan(
        settings,
        (parse_axis("seed", "0"),),
        {"a": {"optimizer": {"solver": {"kind": "block", "rtol": None}}}},
    )
    (trial,), (again,) = (plan_trials(each) for each in (plan, parse_plan(plan_toml(plan), "again")))
    assert again.name == trial.name
    config = build_config(dict(again.settings))
    assert (config.training.diverged_above, config.training.average) == (None, None)
    assert build_config({}).training.diverged_above is not None


@pytest.mark.parametrize(
    "how",
    [
        {"tune": "lr=x0.3,1,3", "rule": "fit", "median_after": 0.5},
        {"search": 7},
        {"random": 3, "random_seed": 2},
    ],
)
def test_how_trials_are_chosen_survives_the_file(how):
    plan = Plan({}, (parse_axis("optimizer.lr", "0.1,1"),), **how)
    again = parse_plan(plan_toml(plan), "again")
    assert {name: getattr(again, name) for name in how} == how


def test_data_folders_become_absolute(tmp_path):
    """So that the sweep can be continued from another folder; names of data sets stay."""
    for name in ("pictures", "digits"):
        (tmp_path / name).mkdir()
    plan = Plan(
        {"data": {"name": "pictures"}},
        (parse_axis("data.name", "digits,pictures,table.csv"),),
        {"a": {"data": {}}},
    )
    found = with_files_found(plan, tmp_path)
    assert found.settings["data"]["name"] == str(tmp_path / "pictures")
    (axis,) = found.axes
    assert axis.values == ("digits", str(tmp_path / "pictures"), str(tmp_path / "table.csv"))


def test_more_draws_extend_fewer_draws_with_the_same_seed():
    axes = (parse_axis("optimizer.lr", "log:1e-3..1"), parse_axis("optimizer.solver.damping", "0.1,1"))
    few, many, other = (
        {trial.name for trial in plan_trials(Plan({}, axes, random=count, random_seed=seed))}
        for count, seed in ((5, 0), (9, 0), (5, 1))
    )
    assert few < many
    assert len(many) == 9
    assert not few & other


def test_a_larger_grid_contains_the_old_trials():
    small, large = (
        {trial.name for trial in plan_trials(Plan({}, (parse_axis("training.seed", seeds),)))}
        for seeds in ("0..2", "0..4")
    )
    assert small < large


def axes_of(**grid):
    return tuple(parse_axis(path, values) for path, values in grid.items())


LRS, SEEDS = axes_of(lr="0.1,1"), axes_of(seed="0..1")
ADAM = {"optimizer": {"kind": "adam"}}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Plan({"optimizer": "adam"}, LRS), Plan(ADAM, axes_of(lr="0.01,1,0.1"))),
        (Plan(axes=SEEDS, variants={"a": ADAM}), Plan(axes=SEEDS, variants={"b": {}, "a": ADAM})),
        (Plan({}, LRS, random=3), Plan({}, LRS, random=4)),
        (Plan({}, LRS, random=3), Plan({}, axes_of(lr="0.1,1,10"))),
        (Plan({}, LRS, tune="lr", rule="fit"), Plan({}, LRS, tune="lr", rule="score", median_after=2)),
        (Plan({"training": {"average": None}}, LRS), Plan({"training": {"average": "none"}}, LRS)),
        (Plan({}, axes_of(lr="log:0.1..1"), search=3), Plan({}, axes_of(lr="log:0.1..1"), search=5)),
    ],
)
def test_a_plan_may_add_trials(old, new):
    assert differences(old, new) == []
    assert differences(old, old) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Plan(ADAM, LRS), Plan({}, LRS), ["optimizer.kind is its default, not adam"]),
        (
            Plan({"training": {"epochs": 1}}, LRS),
            Plan({"training": {"epochs": 2}}, LRS),
            ["training.epochs is 2, not 1"],
        ),
        (Plan({}, LRS), Plan({}, axes_of(lr="1,10")), ["grid.lr leaves out 0.1"]),
        (Plan({}, LRS), Plan({}, axes_of(lr="0.1..1")), ["grid.lr leaves out 0.1, 1"]),
        (Plan({}, LRS), Plan({}, (*LRS, *SEEDS)), ["the grid has lr, training.seed, not lr"]),
        (
            Plan(variants={"a": ADAM, "b": {}}),
            Plan(variants={"a": {}}),
            ["variants.a.optimizer.kind is its default, not adam", "variants.b is left out"],
        ),
        (Plan({}, LRS), Plan({}, LRS, variants={"a": {}}), ["only one of the plans has variants"]),
        (Plan({}, LRS), Plan({}, LRS, random=3), ["random draws 3 points, not all points"]),
        (
            Plan({}, LRS, random=3),
            Plan({}, LRS, random=3, random_seed=1),
            ["random_seed is 1, not 0"],
        ),
        (
            Plan({}, LRS, random=3),
            Plan({}, axes_of(lr="0.1,1,10"), random=3),
            ["grid.lr has further values, which random points do not allow"],
        ),
        (Plan({}, LRS), Plan({}, LRS, tune="lr"), ["tune is lr, not none"]),
        (Plan({}, LRS, search=3), Plan({}, LRS), ["search is none, not 3"]),
    ],
)
def test_a_plan_without_the_trials_of_another_differs(old, new, expected):
    assert differences(old, new) == expected


def test_the_name_of_a_trial_depends_on_all_its_settings():
    axes = (parse_axis("training.seed", "0"),)
    (a,), (b,) = (plan_trials(Plan({"network": {"hidden": h}}, axes)) for h in (32, 64))
    assert a.name != b.name
    assert a.name.startswith("seed=0_")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[grid]\ncarry = [1]", r"carry: is now optimizer\.momentum"),
        ("[optimizer]\nname = 'adam'", r"optimizer\.name: is now optimizer\.kind"),
        ("[grid]\nlearning_rate = [1]", "learning_rate: is called optimizer.lr"),
        ("[grid]\noptimizer.lr = []", "optimizer.lr: has no value"),
        ("grid = 3", "grid must be a table"),
        ("[variants]\na = 3", "variants.a must be a table"),
        ("[sweep]\nworkers = 3", "sweep.workers is unknown"),
        ("[grid", "not TOML"),
        ("[grid]\nlr = [0.1, -1]", "trial lr=-1: optimizer.lr: -1.0 cannot be used"),
        ("[grid]\nlr = '0.1..1'", "lr: a range has no countable values"),
        ("[grid]\nseed = '0..99999'\nbatch_size = '1..99999'", "expected at most 100,000 trials"),
        ("[grid]\nlr = [2020-01-01]", "file: grid lr: 2020-01-01: expected numbers, text or lists"),
        ("[grid]\nepochs = [1, 2]\nsteps = [3]", "file: grid: epochs and steps both set the length"),
        ("[sweep]\nrandom = 0", "file: random: 0 is not an integer from 1 to 100,000"),
        ("[sweep]\nrandom = 'a'", "random: 'a' is not an integer"),
        ("[sweep]\nrandom_seed = -1", "file: random_seed: -1 is not a non-negative integer"),
        ("[sweep]\nrule = 'best'", "rule: 'best' is not one of score, largest, progress, fit"),
        ("[sweep]\nmedian_after = -1", "median_after: -1 is not a non-negative number"),
        ("[sweep]\nsearch = 0", "search: 0 is not a positive integer"),
        ("[sweep]\ntune = 'lr'\nsearch = 3", "file: tune and search: both choose the trials"),
    ],
)
def test_invalid_plans_are_rejected(content, message):
    with pytest.raises(UsageError, match=message):
        plan_trials(parse_plan(content, "file"))
