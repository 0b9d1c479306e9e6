"""A race: its search, its budgets, and a complete race on digits."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from sweep_cases import Here

from revgn.errors import RunError, UsageError
from revgn.store import open_run
from revgn.studies import Race, Raced, Study, conduct_study, plan_of
from revgn.studies.race import Budget, Speed, proposal
from revgn.studies.race_page import race_markdown, race_results
from revgn.sweeps import Plan

RACE = Race("adam", ["adam"], [2], [1], [40], 2)
VARIANTS = {
    "rows": {"optimizer": {"lr": 0.5, "solver": {"rows": 1, "damping": 0.1}}},
    "adam": {"optimizer": {"kind": "adam", "lr": 0.01}},
}
SETTINGS = {
    "data": {"subset": 160, "validation": 0.2},
    "network": {"hidden": 16, "blocks": 1},
}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({(8, 1.0): 0.5, (16, 1.0): 0.6}, (16, 3.0)),
        ({(8, 1.0): 0.5, (16, 1.0): 0.6, (16, 3.0): 0.5}, (16, 0.333)),
        ({(8, 1.0): 0.5, (16, 1.0): 0.6, (16, 3.0): 0.5, (16, 0.333): 0.4}, (8, 3.0)),
        ({(8, 1.0): 0.5, (8, 3.0): 0.3, (16, 1.0): 0.6, (16, 3.0): 0.5, (16, 0.333): 0.4}, (8, 0.333)),
        ({(8, 1.0): -math.inf, (16, 1.0): 0.6, (16, 3.0): 0.5, (16, 0.333): 0.4}, (8, 0.333)),
        ({(16, 1.0): 0.6, (16, 3.0): 0.5, (16, 0.333): 0.4}, (16, 1.73)),
        ({(16, 1.0): 0.6, (16, 3.0): 0.5, (16, 0.333): 0.55}, (16, 0.577)),
        ({(16, 1.0): 0.6, (16, 1.3): 0.5, (16, 0.333): 0.1}, (16, 0.577)),  # 1.3 is close
        ({(16, 1.0): 0.6, (16, 1.2): 0.5, (16, 0.9): 0.1, (16, 0.3): 0.2}, (16, 0.52)),  # both are close
        ({(16, 1.0): 0.6, (16, 1.2): 0.5, (16, 0.9): 0.1}, None),
        ({(8, 1.0): -math.inf, (16, 1.0): -math.inf}, (8, 0.333)),
        ({(8, 1.0): -math.inf, (8, 0.333): 0.1}, (8, 0.111)),
    ],
)
def test_the_search_finds_the_scale_with_each_batch_size_and_then_refines_the_best_setting(scores, expected):
    assert proposal(scores) == expected
    assert expected not in scores


def raced(**changes):
    return Raced(Plan(SETTINGS, (), VARIANTS), replace(RACE, **changes), 2, Path("nowhere"))


def test_a_budget_in_time_has_the_steps_that_fit():
    """Three epochs of Adam take 3 * 8 * 10 ms, in which 19 steps of 12.5 ms fit, or 9 of 25 ms."""
    speeds = {("adam", 20): Speed(0.01, 8), ("rows", 20): Speed(0.0125, 8), ("rows", 40): Speed(0.025, 4)}
    race = raced(batch_sizes=[20, 40])
    assert race.steps("rows", 20, Budget(3, True), speeds) == 19
    assert race.steps("rows", 40, Budget(3, True), speeds) == 9
    assert race.steps("adam", 20, Budget(3, True), speeds) == 24
    assert race.steps("rows", 40, Budget(3, False), speeds) == 12
    assert race.steps("rows", 40, Budget(0.01, True), speeds) == 1
    with pytest.raises(RunError, match="timing run of adam failed"):
        race.steps("rows", 20, Budget(3, True), {("rows", 20): Speed(0.01, 8)})


def test_wrong_races_are_rejected():
    with pytest.raises(UsageError, match="no variant 'muon'"):
        raced(baselines=["muon"])
    with pytest.raises(UsageError, match="0 trials for 1 batch sizes"):
        raced(trials=0)


def test_a_complete_race(tmp_path):
    """Timing runs in three rounds, then as many trials for each method and budget, then all seeds."""
    study = Study("own", "Own", "nobody", "Who?", Plan(SETTINGS, (), VARIANTS), {"laptop": {}}, race=RACE)
    folder, here = tmp_path / "s", Here()
    board, verdicts = conduct_study(study, folder, seeds=2, executor=here, command="revgn study own")
    source = Raced(plan_of(study, "laptop", 2), RACE, 2, folder)
    assert len(board) <= source.most == 3 * 2 + 2 * 2 * (2 + 1)
    timings = here.trials[: 3 * 2]
    assert all("steps=24" in name for name in timings)
    assert [name.partition("_")[0] for name in timings] == [*VARIANTS] * 3
    finals, speeds = source.finals(board), source.speeds(board)
    for variant in VARIANTS:
        rounds = [open_run(folder / name) for name in timings if name.startswith(variant)]
        assert speeds[variant, 40].seconds == min(run.steps["seconds"][4:].mean() for run in rounds)
    assert set(speeds) == {(variant, batch) for variant in VARIANTS for batch in (40,)}
    assert speeds["adam", 40].per_epoch == 4  # 160 training samples
    assert len(finals) == 2 * 2
    for (variant, budget), final in finals.items():
        steps = source.steps(variant, final.batch_size, budget, speeds)
        runs = [open_run(folder / trial.name) for trial in final.trials]
        assert [run.config["training"]["seed"] for run in runs] == [0, 1]
        assert all(run.steps["step"].size == steps for run in runs)
        assert all(run.config["training"]["batch_size"] == final.batch_size for run in runs)
        if not budget.is_time:
            assert steps * final.batch_size == 160 * budget.epochs
    assert [verdict.claim.more for verdict in verdicts] == ["rows"] * 2
    page = (folder / "study.md").read_text()
    assert "| method | time of 1 adam epoch | 2 epochs |" in page
    assert "| milliseconds per step, batch size | 40 |" in page
    assert page.count("**") == 2 * 2  # one winner for each budget
    assert len(json.loads((folder / "study.json").read_text())) == 2
    assert (folder / "study.png").stat().st_size > 5000
    assert "(study.png)" in page
    assert len(race_results(source, board)) == len(finals)
    ((key, final), *_) = finals.items()
    diverged = board | {final.trials[1].name: board[final.trials[1].name]._replace(status="diverged")}
    assert race_results(source, diverged).keys() == finals.keys() - {key}
    again = Here()
    assert conduct_study(study, folder, seeds=2, executor=again)[1] == verdicts
    assert again.trials == []


def test_a_batch_size_that_is_left_out_has_not_failed():
    study = Study("own", "Own", "nobody", "Who?", Plan(SETTINGS, (), VARIANTS), {"laptop": {}}, race=RACE)
    race = raced(batch_sizes=[20, 40], trials=2, too_slow={"rows": [40]})
    page = race_markdown(study, race, {}, {("rows", 20): Speed(0.0125, 8)}, (), "laptop", "revgn study own")
    assert "| rows | 12.5 | - |\n| adam | failed | failed |" in page


def test_a_method_that_fails_has_no_result(tmp_path):
    broken = VARIANTS | {"rows": {"optimizer": {"lr": 1e30, "solver": {"rows": 1, "damping": 0.1}}}}
    plan = Plan(SETTINGS, (), broken)
    race = replace(RACE, epochs=[], reference_epochs=[1])
    study = Study("own", "Own", "nobody", "Who?", plan, {"laptop": {}}, race=race)
    _, verdicts = conduct_study(study, tmp_path / "s", seeds=1, executor=Here())
    assert verdicts == ()
    assert "| rows | failed |" in (tmp_path / "s" / "study.md").read_text()
