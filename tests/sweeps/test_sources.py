"""Sources of trials (tuning and search), and the median rule that ends trials early."""

import math
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sweep_cases import Here, plan_of, statuses

from revgn.errors import UsageError
from revgn.store import open_run
from revgn.sweeps import Beat, TrialState, parse_axis, plan_trials, run_sweep, tuned
from revgn.sweeps.claim import score_of_trial
from revgn.sweeps.launch import check_contradictions
from revgn.sweeps.median import MedianRule
from revgn.sweeps.search import Searched
from revgn.sweeps.tune import Tuned, between, beyond
from revgn.sweeps.work import beat_of


@pytest.mark.parametrize(
    ("scores", "rule", "further", "finer"),
    [
        ({1.0: 0.2, 10.0: 0.3, 100.0: 0.1}, "score", [], [3.16, 31.6]),
        ({1.0: 0.2, 10.0: 0.3}, "score", [100.0], [3.16]),
        ({1.0: 0.3, 10.0: 0.2}, "score", [0.1], [3.16]),
        ({1.0: -math.inf, 10.0: -math.inf}, "score", [0.1], []),
        ({1.0: 1.0, 10.0: 10.0, 100.0: -math.inf}, "largest", [], [31.6]),
        ({1.0: 1.0, 10.0: -math.inf}, "largest", [], [3.16]),
        ({1.0: 1.0, 10.0: 10.0}, "largest", [100.0], []),
        ({1.0: -math.inf, 10.0: -math.inf}, "largest", [0.1], []),
        ({1.0: 0.5, 1.001: 0.5}, "score", [0.999], []),
    ],
)
def test_the_next_values_to_try(scores, rule, further, finer):
    assert beyond(scores, rule) == further
    assert between(scores, rule) == finer


def test_the_learning_rate_is_tuned_for_each_point(tmp_path):
    """Each point of the sweep gets its own best value, which then runs on all seeds."""
    plan = plan_of(optimizer="adam,sgd", training__seed="0..2")
    tuned = Tuned(plan, parse_axis("optimizer.lr", "1e-4,1e-3"), "score", tmp_path / "s")
    here = Here()
    board = run_sweep(plan, tmp_path / "s", source=tuned, executor=here)
    assert len(here.trials) == len(set(here.trials)) == len(board)
    best = tuned.best(board)
    assert len(best) == 2
    for name in ("adam", "sgd"):
        states = [state for state in board.values() if state.trial.choices["optimizer"] == name]
        tried = {
            state.trial.choices["optimizer.lr"]: score_of_trial(state.beat)
            for state in states
            if state.trial.choices["training.seed"] == 0
        }
        assert len(tried) >= 4
        (rate,) = (value for point, value in best.items() if point.startswith(f"optimizer={name}_"))
        assert tried[rate] == max(tried.values())
        on_other_seeds = [
            state.trial.choices["optimizer.lr"]
            for state in states
            if state.trial.choices["training.seed"] > 0
        ]
        assert on_other_seeds == [rate] * 2
    again = Here()
    tuned_again = Tuned(plan, parse_axis("optimizer.lr", "1e-4,1e-3"), "score", tmp_path / "s")
    assert list(run_sweep(plan, tmp_path / "s", source=tuned_again, executor=again)) == list(board)
    assert again.trials == []


def test_the_largest_learning_rate_that_does_not_diverge(tmp_path):
    plan = plan_of({"optimizer": "sgd"})
    tuned = Tuned(plan, parse_axis("optimizer.lr", "0.01,1e30"), "largest", tmp_path / "s")
    board = run_sweep(plan, tmp_path / "s", source=tuned, executor=Here())
    (rate,) = tuned.best(board).values()
    stable = []
    for name, state in board.items():
        losses = open_run(tmp_path / "s" / name).epochs["train_loss"]
        if state.status == "finished" and losses[-1] < losses[0]:
            stable.append(state.trial.choices["optimizer.lr"])
    assert rate == max(stable)
    assert rate < 1e30


def test_a_rate_whose_loss_is_finite_but_high_is_not_the_largest(tmp_path):
    """Adam's loss stays finite; it has diverged at 1000, and has risen at 1."""
    plan = plan_of()
    tuned = Tuned(plan, parse_axis("optimizer.lr", "0.001,1,1000"), "largest", tmp_path / "s")
    board = run_sweep(plan, tmp_path / "s", source=tuned, executor=Here())
    status = {state.trial.choices["optimizer.lr"]: state.status for state in board.values()}
    assert (status[0.001], status[1], status[1000]) == ("finished", "finished", "diverged")
    assert set(tuned.best(board).values()) < {value for value in status if value < 1}


def test_the_learning_rate_with_the_lowest_training_loss_after_one_epoch(tmp_path):
    plan = plan_of()
    tuned = Tuned(plan, parse_axis("optimizer.lr", "1e-5,1e-4"), "progress", tmp_path / "s")
    board = run_sweep(plan, tmp_path / "s", source=tuned, executor=Here())
    (rate,) = tuned.best(board).values()
    losses, finals = {}, []
    for name, state in board.items():
        run = open_run(tmp_path / "s" / name)
        if state.trial.choices.get("training.epochs") == 1:
            assert run.epochs["epoch"][-1] == 1
            losses[state.trial.choices["optimizer.lr"]] = run.epochs["train_loss"][-1]
        else:
            finals.append((run.config["training"]["epochs"], run.config["optimizer"]["lr"]))
    assert rate == min(losses, key=losses.get)
    assert finals == [(2, rate)]


def test_the_rule_progress_applies_the_settings_of_a_variant(tmp_path):
    plan = replace(plan_of(), variants={"a": {"optimizer": {"kind": "adam"}}})
    trials = Tuned(plan, parse_axis("lr", "1e-5,1e-4"), "progress", tmp_path).more({}, 1)
    assert [trial.choices for trial in trials] == [
        {"variant": "a", "lr": rate, "training.epochs": 1} for rate in (1e-5, 1e-4)
    ]
    assert {trial.settings["optimizer"]["kind"] for trial in trials} == {"adam"}


def test_the_learning_rate_with_the_lowest_final_training_loss(tmp_path):
    """The rule ignores the validation set."""
    plan = plan_of({"validation": 0.2})
    tuned = Tuned(plan, parse_axis("optimizer.lr", "1e-5,1e-2"), "fit", tmp_path / "s")
    board = run_sweep(plan, tmp_path / "s", source=tuned, executor=Here())
    losses = {
        state.trial.choices["optimizer.lr"]: open_run(tmp_path / "s" / name).epochs["train_loss"][-1]
        for name, state in board.items()
    }
    assert len(losses) >= 3
    assert tuned.best(board) == {name: min(losses, key=losses.get) for name in tuned.best(board)}


def test_tuning_uses_the_averaged_weights(tmp_path):
    """Scores in heartbeats during training, and scores read from the run, are those of averaged weights."""
    plan = plan_of({"average": "tail", "tail_start": 0.5})
    board = run_sweep(plan, tmp_path / "s", executor=Here())
    ((name, state),) = board.items()
    epochs = open_run(tmp_path / "s" / name).epochs
    assert np.isnan(epochs["test_accuracy_average"]).any() or epochs["epoch"].size == 2
    measured = np.isfinite(epochs["test_accuracy_average"])
    expected = list(zip(epochs["epoch"][measured], epochs["test_accuracy_average"][measured], strict=True))
    assert list(state.beat.scores) == expected
    assert list(beat_of(open_run(tmp_path / "s" / name)).scores) == expected


def test_invalid_tuning_arguments_are_rejected(tmp_path):
    for values in ("0.1", "0,1", "a,b"):
        with pytest.raises(
            UsageError, match=r"tune optimizer\.lr: expected at least two distinct positive values"
        ):
            Tuned(plan_of(), parse_axis("optimizer.lr", values), "score", tmp_path)
    with pytest.raises(UsageError, match="rule: 'most' is not one of score, largest, progress, fit"):
        Tuned(plan_of(), parse_axis("optimizer.lr", "1,2"), "most", tmp_path)


def first_values(plan, tune, name, folder):
    """Return the first values that tuning tries, by the name of the variant."""
    found = {}
    for trial in tuned(plan, folder, tune, "score").more({}, 1):
        found.setdefault(trial.choices.get("variant"), []).append(trial.choices[name])
    return found


def test_initial_learning_rates_lie_around_the_default_of_each_variant(tmp_path):
    """Also if the plan itself, or another variant, has another optimizer."""
    plan = plan_of({"optimizer": "sgd", "lr": 0.1})
    around = (0.0111, 0.0333, 0.1, 0.3, 0.9)
    assert first_values(plan, "lr", "lr", tmp_path) == {None: [*around]}
    plan = replace(plan, variants={"sgd": {}, "adam": {"optimizer": {"kind": "adam"}}})
    of_adam = [0.000111, 0.000333, 0.001, 0.003, 0.009]
    assert first_values(plan, "lr", "lr", tmp_path) == {"sgd": [*around], "adam": of_adam}


@pytest.mark.parametrize(
    ("tune", "expected"), [("hidden=16,32", [16, 32]), ("batch_size=x0.5,1,1.3", [25, 50, 65])]
)
def test_whole_numbers_are_tuned_as_such(tune, expected, tmp_path):
    name = f"{'network' if 'hidden' in tune else 'training'}.{tune.partition('=')[0]}"
    (values,) = first_values(plan_of(), tune, name, tmp_path).values()
    assert values == expected
    assert {type(value) for value in values} == {int}


def test_values_out_of_bounds_are_not_proposed(tmp_path):
    """The next momentum after 0.9 would be 1.62, and the next number of blocks after 1 would be 0.5."""
    plan = plan_of({"optimizer": "sgd"})
    for tune, name, best in (("momentum=0.5,0.9", "momentum", 0.9), ("blocks=1,2", "network.blocks", 1)):
        source, board = tuned(plan, tmp_path, tune, "score"), {}
        while new := source.more(board, 1):
            for trial in new:
                score = -abs(trial.choices[name] - best)
                board[trial.name] = TrialState(trial, "finished", Beat(scores=((1.0, score),)))
        assert [*source.best(board).values()] == [best]
        assert source.untried(board) == {}


@pytest.mark.parametrize(
    ("rule", "best", "expected"),
    [("score", 100.0, [46.7]), ("score", 1e-3, [0.0642]), ("score", 2.0, []), ("largest", 1e-3, [])],
)
def test_the_value_beyond_a_best_one_at_the_end_of_those_tried(tmp_path, monkeypatch, rule, best, expected):
    """The values are extended at most twice; the smallest one is the largest that does not diverge."""
    source, board = tuned(plan_of(), tmp_path, "lr=1,3", rule), {}
    monkeypatch.setattr(
        Tuned,
        "_score",
        lambda self, trial, board: (
            -abs(math.log(trial.choices["lr"] / best)) if trial.name in board else math.nan
        ),
    )
    while new := source.more(board, 1):
        board |= {trial.name: TrialState(trial, "finished") for trial in new}
    assert [*source.untried(board).values()] == expected


def test_two_names_of_one_setting_are_tuned_once(tmp_path):
    plan = plan_of(optimizer__lr="0.1,0.3")
    assert first_values(plan, "lr", "optimizer.lr", tmp_path) == {None: [0.1, 0.3]}
    assert first_values(plan, "lr=1,2", "lr", tmp_path) == {None: [1.0, 2.0]}  # as in folders of before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tune": "lr=1,2"}, r"tune lr and grid optimizer\.lr: both have values; use only one"),
        ({"rule": "fit"}, "rule: fit has no effect without tune"),
        ({"axes": (parse_axis("optimizer.lr", "0.1,1,0.10"),)}, "the value 0.1 is given twice"),
    ],
)
def test_contradictions_of_a_new_plan_are_refused(changes, message):
    plan = plan_of(optimizer__lr="0.1,0.3")
    check_contradictions(plan)
    with pytest.raises(UsageError, match=message):
        check_contradictions(replace(plan, **changes))


@pytest.mark.parametrize(
    ("tune", "settings", "message"),
    [
        (
            "weight_decay=x0.1,1,10",
            {},
            r"tune weight_decay: its value 0 times 0\.1, 1, 10 gives 0, 0, 0;",
        ),
        (
            "blocks=x0.9,1,1.1",
            {},
            r"tune network\.blocks: its value 1 times 0\.9, 1, 1\.1 gives 1, 1, 1;",
        ),
        ("steps=x0.5,1,2", {}, r"training\.steps: is none by default, which has no multiples; give values"),
        ("batch_size=x1,2", {"batch_size": "full"}, r"training\.batch_size: is full by default"),
    ],
)
def test_multiples_that_do_not_differ_are_rejected(tune, settings, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        tuned(plan_of(settings), tmp_path, tune, "score")


def test_sources_make_each_trial_and_read_each_default_once(tmp_path, monkeypatch):
    """They are called at the start and the end of every trial."""
    calls = Counter()

    def counted(module, name):
        module = sys.modules[module]
        function = getattr(module, name)

        def call(*arguments):
            calls[name] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, call)

    counted("revgn.sweeps.tune", "numerical_value")
    source = tuned(plan_of(training__seed="0..2"), tmp_path, "lr=x0.3,1,3", "score")
    counted("revgn.sweeps.plan", "make_trial")  # from here on: the points have been made
    for _ in range(3):
        source.more({}, 1)
    assert calls == {"make_trial": 3, "numerical_value": 1}


def board_of(scores, status="running", settings=None):
    trials = plan_trials(plan_of(settings, training__seed=list(range(len(scores)))))
    return {
        trial.name: TrialState(
            trial, status, Beat(epoch=float(len(each)), scores=tuple(enumerate(each, start=1)))
        )
        for trial, each in zip(trials, scores, strict=True)
    }


def test_the_median_rule():
    board = board_of([[0.1, 0.2], [0.5, 0.6], [0.5, 0.7], [0.4, 0.9]])
    slow, *others = board
    assert MedianRule(2)(board) == {
        slow: "below the median at epoch 2: best score 0.2, median of 3 others 0.6"
    }
    assert MedianRule(3)(board) == {}
    few = {name: board[name] for name in (slow, *others[:2])}
    assert MedianRule(0)(few) == {}
    late = board_of([[0.1, 0.2], [0.5], [0.5], [0.4]])
    assert slow not in MedianRule(0)(late)  # no other trial has trained for as many epochs
    over = board_of([[0.1, 0.2], [0.5, 0.6], [0.5, 0.7], [0.4, 0.9]], "finished")
    assert MedianRule(0)(over) == {}
    other_data = board_of([[0.5, 0.6]] * 3, settings={"data.subset": 100})
    assert MedianRule(0)({slow: board[slow]} | other_data) == {}
    with pytest.raises(UsageError, match="median rule: -1 epochs; expected a number that is not negative"):
        MedianRule(-1)


def test_a_search_is_continued_from_its_journal(tmp_path):
    pytest.importorskip("optuna")
    plan = plan_of(optimizer__lr="log:1e-4..1e-1", network__hidden="8,16")
    here = Here()
    board = run_sweep(
        plan, tmp_path / "s", source=Searched(plan, 3, tmp_path / "s"), executor=here, workers=2
    )
    assert statuses(board) == ["finished"] * 3
    more = Here()
    source = Searched(plan, 5, tmp_path / "s")
    grown = run_sweep(plan, tmp_path / "s", source=source, executor=more)
    assert (len(here.trials), len(more.trials), len(grown)) == (3, 2, 5)
    assert set(board) < set(grown)
    trials = source._study.get_trials()
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert source._study.best_value == max(score_of_trial(state.beat) for state in grown.values())


def test_the_test_set_selects_no_evaluation(tmp_path):
    """The score of a trial is its best on the validation set, or its last on the test set."""
    scores = ((1.0, 0.2), (2.0, 0.9), (3.0, 0.5))
    assert score_of_trial(Beat(scores=scores)) == 0.9
    assert score_of_trial(Beat(scores=scores, judged="test_loss")) == 0.5
    assert score_of_trial(Beat()) == -math.inf
    for validation in (0.0, 0.2):
        board = run_sweep(
            plan_of({"data.validation": validation}), tmp_path / str(validation), executor=Here()
        )
        ((name, state),) = board.items()
        assert state.beat.by_test is (validation == 0.0)
        assert beat_of(open_run(tmp_path / str(validation) / name)).by_test is (validation == 0.0)


@pytest.mark.parametrize(("count", "trials"), [(5, 5), (9, 6)])
def test_a_search_runs_different_trials_also_if_proposals_repeat(count, trials, tmp_path, monkeypatch):
    """Here optuna proposes the same point each time; the grid has six points, and then the search ends."""
    optuna = pytest.importorskip("optuna")

    class Stubborn(optuna.samplers.BaseSampler):
        def infer_relative_search_space(self, study, trial):
            return {}

        def sample_relative(self, study, trial, space):
            return {}

        def sample_independent(self, study, trial, name, distribution):
            return distribution.choices[0]

    monkeypatch.setattr(optuna.samplers, "TPESampler", Stubborn)
    plan = plan_of(optimizer__lr="1e-4,1e-3,1e-2", network__hidden="8,16")
    source, here = Searched(plan, count, tmp_path / "s"), Here()
    assert source.count == trials
    board = run_sweep(plan, tmp_path / "s", source=source, executor=here, workers=2)
    assert statuses(board) == ["finished"] * trials
    assert len(here.trials) == len(set(here.trials)) == trials


@pytest.mark.parametrize(
    ("grid", "count", "message"),
    [
        ({"training__seed": "0..2"}, 3, "a seed cannot be searched"),
        ({}, 3, "there are no settings to vary"),
        ({"optimizer__lr": "0.1,1"}, 0, "0 trials; expected at least 1"),
    ],
)
def test_invalid_searches_are_rejected(tmp_path, grid, count, message):
    pytest.importorskip("optuna")
    with pytest.raises(UsageError, match=message):
        Searched(plan_of(**grid), count, tmp_path)


def test_a_search_with_another_grid_needs_another_folder(tmp_path):
    pytest.importorskip("optuna")
    plan = plan_of(optimizer__lr="1e-4,1e-3")
    for _ in range(2):
        Searched(plan, 1, tmp_path)
    others = (
        plan_of(optimizer__lr="1e-4,1e-3,1e-2"),
        plan_of(network__hidden="8,16"),
        replace(plan, variants={"a": {}}),
    )
    for other in others:
        with pytest.raises(UsageError, match="its search has another grid; choose another folder"):
            Searched(other, 1, tmp_path)


def test_a_search_proposes_whole_numbers_for_settings_that_take_them(tmp_path):
    pytest.importorskip("optuna")
    (trial,) = Searched(plan_of(network__hidden="log:16..64"), 1, tmp_path).more({}, 1)
    assert type(trial.choices["network.hidden"]) is int
