"""Studies: their declarations, the verdicts on claims, and complete studies."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sweep_cases import Here

from revgn.errors import UsageError
from revgn.launch import start_run
from revgn.settings import Config, build_config, config_dict, flat, merge_settings, parse_toml
from revgn.store import Provenance, create_run, open_run
from revgn.store.names import EPOCH_SERIES, STEP_SERIES
from revgn.studies import Claim, Study, conduct_study, fit_to_data, judge, load_study, plan_of, study_names
from revgn.studies.page import first_rate, variant_lines
from revgn.sweeps import Plan, plan_toml, plan_trials, tuned
from revgn.views.compare import METRICS

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLAIM = Claim("more is more", "test_accuracy", "a", "b")


@pytest.mark.parametrize("name", study_names())
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_every_study_can_be_run(name, scale):
    study = load_study(name)
    trials = plan_trials(plan_of(study, scale, 2))
    assert {trial.settings["preset"] for trial in trials} == {"plain"}  # nothing is chosen from the data
    assert {trial.choices["variant"] for trial in trials} == set(study.plan.variants)
    if study.tune:  # each variant has a learning rate to tune
        for trial in tuned(plan_of(study, scale, 2), Path("nowhere"), study.tune, study.rule).more({}, 0):
            assert type(build_config(dict(trial.settings))) is Config
    assert study.title
    assert study.question
    assert study.claims or study.race
    for claim in study.claims:
        assert {claim.more, claim.less} <= set(study.plan.variants)
        of_steps = {series.name for series in STEP_SERIES}
        assert claim.metric in {*METRICS, *(series.name for series in EPOCH_SERIES), *of_steps}
        assert claim.per in {None, *of_steps}
        by_then = claim.epoch is not None or claim.seconds is not None
        assert not by_then or claim.metric in {series.name for series in EPOCH_SERIES}


def test_unknown_studies_scales_and_seeds_are_rejected():
    with pytest.raises(UsageError, match="there is no 'invers'; did you mean inverse"):
        load_study("invers")
    with pytest.raises(UsageError, match=r"expected one of .*inverse"):
        load_study("zzz")
    with pytest.raises(UsageError, match="seeds: 0"):
        plan_of(load_study("inverse"), "laptop", 0)
    with pytest.raises(UsageError, match="has no scale 'huge'"):
        plan_of(load_study("inverse"), "huge", 1)


NOBODY = Provenance("", "", {}, "", 0, "numpy", "", "float64", "digits", "", {}, "")


@pytest.fixture
def make_runs(tmp_path):
    def make(name, accuracies):
        runs = []
        for seed, accuracy in enumerate(accuracies):
            config = config_dict(build_config({"training": {"seed": seed}}))
            with create_run(tmp_path / f"{name}-{seed}", replace(NOBODY, config=config)) as writer:
                figures = {"train_loss": 1.0, "test_loss": 1.0, "test_accuracy": accuracy}
                for step in (1, 2):
                    writer.record_step(
                        {
                            "step": step,
                            "loss_decrease": step * accuracy,
                            "loss_decrease_other": 0.5 * accuracy**2,
                        }
                    )
                writer.record_epoch({"epoch": 0.5, **figures, "seconds": 2.0, "test_loss": accuracy / 2})
                later = {"kernel_similarity": 1 - accuracy, "seconds": 4.0}
                writer.record_epoch({"epoch": 1.0, **figures, **later})
            runs.append(open_run(tmp_path / f"{name}-{seed}"))
        return runs

    return make


@pytest.mark.parametrize(
    ("more", "less", "answer"),
    [
        ((0.90, 0.91, 0.92), (0.80, 0.81, 0.82), "agrees"),
        ((0.80, 0.81, 0.82), (0.90, 0.91, 0.92), "disagrees"),
        ((0.80, 0.90, 1.00), (0.79, 0.89, 0.99), "cannot tell"),
        ((0.90,), (0.10,), "cannot tell"),
        ((), (0.10, 0.11), "cannot tell"),
    ],
)
def test_verdicts(make_runs, more, less, answer):
    found = judge(CLAIM, make_runs("a", more), make_runs("b", less))
    assert found.answer == answer
    if more and len(more) == len(less) == 3:
        error = math.sqrt(np.var(more, ddof=1) / 3 + np.var(less, ddof=1) / 3)
        assert (found.difference, found.error) == pytest.approx((np.mean(more) - np.mean(less), error))


def test_a_claim_about_a_series_of_epochs(make_runs):
    claim = replace(CLAIM, metric="kernel_similarity")
    found = judge(claim, make_runs("a", (0.1, 0.2)), make_runs("b", (0.8, 0.9)))
    assert (found.answer, found.of_more) == ("agrees", pytest.approx((0.9, 0.8)))


@pytest.mark.parametrize("limit", [{"epoch": 0.7}, {"seconds": 3.0}, {"epoch": 0.5, "seconds": 2.0}])
def test_a_claim_at_an_epoch_or_a_training_time(make_runs, limit):
    claim = replace(CLAIM, metric="test_loss", **limit)
    found = judge(claim, make_runs("a", (0.8, 0.9)), make_runs("b", (0.1, 0.2)))
    assert (found.of_more, found.of_less) == (pytest.approx((0.4, 0.45)), pytest.approx((0.05, 0.1)))
    assert judge(replace(claim, epoch=0.1), make_runs("c", (0.8,)), []).of_more == ()


def test_a_claim_about_the_mean_of_a_series_of_steps_and_the_ratio_of_two(make_runs):
    runs = make_runs("a", (0.8, 0.9))
    assert judge(replace(CLAIM, metric="loss_decrease"), runs, []).of_more == pytest.approx((1.2, 1.35))
    share = replace(CLAIM, metric="loss_decrease_other", per="loss_decrease")
    assert judge(share, runs, []).of_more == pytest.approx((0.8 / 3, 0.9 / 3))
    assert share.what == "loss decrease other per loss decrease"
    assert replace(CLAIM, epoch=1, seconds=20).what == "test accuracy at epoch 1 after 20 s"


def test_other_data():
    plan = plan_of(load_study("inverse"), "laptop", 1, "mnist")
    assert {trial.settings["data"]["name"] for trial in plan_trials(plan)} == {"mnist"}
    assert {trial.settings["data"]["subset"] for trial in plan_trials(plan)} == {20_000}


def test_a_data_set_smaller_than_the_subset_is_used_as_a_whole(tmp_path):
    study, notes = study_of(), []
    large = replace(
        study, plan=replace(study.plan, settings={**study.plan.settings, "data": {"subset": 5000}})
    )
    board, _ = conduct_study(
        large, tmp_path / "s", seeds=1, data="auto-mpg", executor=Here(), note=notes.append
    )
    assert notes == ["auto-mpg: all 314 training rows are used, fewer than the 5000 of the study"]
    assert {state.status for state in board.values()} == {"finished"}
    for scale, data in (("laptop", "digits"), ("laptop", None)):
        plan = plan_of(study, scale, 1, data)
        assert fit_to_data(plan) == (plan, "")  # 200 of 1150 training rows


def test_settings_of_the_paper_for_cifar10():
    for trial in plan_trials(plan_of(load_study("mini-batch"), "paper", 1, "cifar10")):
        assert (trial.settings["network"]["blocks"], trial.settings["data"]["augmentation"]) == (
            6,
            "resized-crop",
        )
    (trial, *_) = plan_trials(plan_of(load_study("mini-batch"), "laptop", 1, "cifar10"))
    assert (trial.settings["network"]["blocks"], "augmentation" in trial.settings["data"]) == (2, False)
    deep = plan_trials(plan_of(load_study("depth-and-width"), "paper", 1, "cifar10"))
    assert {trial.settings["network"]["blocks"] for trial in deep} == {1, 6}


def study_of(tune="", rule="score"):
    settings = {
        "data": {"subset": 200, "validation": 0.2},
        "network": {"hidden": 16, "blocks": 1},
        "training": {"batch_size": 40, "epochs": 2},
    }
    variants = {
        "fast": {"optimizer": {"kind": "adam", "lr": 0.01}},
        "slow": {"optimizer": {"kind": "adam", "lr": 1e-5}},
    }
    claims = (replace(CLAIM, more="fast", less="slow"), replace(CLAIM, more="slow", less="fast"))
    plan = Plan(settings, (), variants)
    return Study("own", "Own", "nobody", "Which?", plan, {"laptop": {}}, tune, rule, ("accuracy",), claims)


def test_a_verdict_that_is_undecided_is_valid_json(tmp_path):
    """One seed gives no standard error; JSON has no NaN."""

    def refused(word):
        raise AssertionError(word)

    conduct_study(study_of(), tmp_path / "s", seeds=1, executor=Here())
    found = json.loads((tmp_path / "s" / "study.json").read_text(), parse_constant=refused)
    assert [(each["answer"], each["error"]) for each in found] == [("cannot tell", None)] * 2


@pytest.mark.parametrize("tune", ["", "lr=x0.5,1"])
def test_a_complete_study(tmp_path, tune):
    folder, here = tmp_path / "s", Here()
    board, verdicts = conduct_study(study_of(tune), folder, seeds=2, executor=here, command="revgn study own")
    assert all(state.status == "finished" for state in board.values())
    assert len(here.trials) == (4 if not tune else len(board))
    if not tune:
        assert [verdict.answer for verdict in verdicts] == ["agrees", "disagrees"]
    page = (folder / "study.md").read_text()
    assert "| fast |" in page
    assert "by `revgn study own`" in page
    assert '- `fast`: `optimizer = {kind = "adam", lr = 0.01}`' in page
    assert "| more is more | test accuracy: fast minus slow = +" in page
    found = json.loads((folder / "study.json").read_text())
    assert [each["answer"] for each in found] == [verdict.answer for verdict in verdicts]
    assert len(found[0]["of_more"]) == 2
    assert (folder / "study.png").stat().st_size > 5000
    body = (folder / "report.html").read_text().partition("<body>")[2]
    assert body.startswith("<h1>Own</h1>\n<p>Which? (nobody.)</p>")
    assert "<td>more is more</td><td>test accuracy: fast minus slow = +" in body
    assert (folder / "seconds.png").stat().st_size > 5000
    again = Here()
    assert conduct_study(study_of(tune), folder, seeds=2, executor=again)[1] == verdicts
    assert again.trials == []


def test_a_study_with_the_rule_fit_against_a_setting(tmp_path):
    """The training loss selects the learning rates and orders the table; the setting is a horizontal axis."""
    study = study_of("lr=x0.5,1", "fit")
    claims = (replace(study.claims[0], metric="step_norm"),)
    study = replace(study, claims=claims, against="optimizer.lr", panels=("test_accuracy", "seconds"))
    folder = tmp_path / "s"
    board, _ = conduct_study(study, folder, seeds=1, executor=Here())
    best = {}
    for name in board:
        run = open_run(folder / name)
        variant = board[name].trial.choices["variant"]
        found = (run.epochs["train_loss"][-1], run.config["optimizer"]["lr"], np.mean(run.steps["step_norm"]))
        best[variant] = min(best.get(variant, (np.inf,)), found)
    rows = [line.split(" | ") for line in (folder / "study.md").read_text().splitlines()[8:10]]
    assert [row[0].removeprefix("| ") for row in rows] == sorted(best, key=best.get)
    for row in rows:
        _, rate, step_norm = best[row[0].removeprefix("| ")]
        assert float(row[1]) == pytest.approx(rate)
        assert float(row[-1].split()[0]) == pytest.approx(step_norm, rel=1e-3)
    text = (folder / "study.svg").read_text()
    assert ">optimizer.lr<" in text
    assert ">test accuracy (%)<" in text
    assert ">epoch<" not in text


def test_packaged_studies_use_existing_settings_and_metrics():
    for study in filter(lambda study: study.against, map(load_study, study_names())):
        assert study.against in flat(config_dict(build_config({})))
        assert set(study.panels) <= set(METRICS)


@pytest.mark.parametrize("name", [name for name in study_names() if "lr" in load_study(name).tune])
def test_every_variant_has_a_learning_rate_for_its_page(name):
    """It is the learning rate of the first optimizer if there are several, or of the inner optimizer."""
    plan = plan_of(load_study(name), "laptop", 1)
    for trial in plan_trials(plan):
        config = config_dict(build_config(dict(trial.settings)))
        optimizer = config["optimizer"]
        inner = optimizer.get("inner") or optimizer.get("first") or optimizer
        assert first_rate(config) == inner["lr"] > 0


@pytest.mark.parametrize("name", study_names())
def test_the_settings_on_a_page_are_those_of_the_variants(name):
    study = load_study(name)
    _, _, *lines = variant_lines(study)
    found = dict(re.fullmatch(r"- `([\w-]+)`: `(.*)`", line).groups() for line in lines)
    parsed = {variant: parse_toml(f"x = {{{text}}}", variant)["x"] for variant, text in found.items()}
    assert parsed == study.plan.variants


def test_fewer_seeds_than_the_folder_has_are_refused(tmp_path):
    """The message names the number of seeds; in the folder of another study, that is not the reason."""
    folder = tmp_path / "s"
    study = replace(study_of(), claims=(), plan=replace(study_of().plan, variants={"a": {}}))
    trials = plan_trials(plan_of(study, "laptop", 3))
    start_run(dict(trials[0].settings), folder / trials[0].name, should_stop=lambda: True)
    (folder / "sweep.toml").write_text(plan_toml(plan_of(study, "laptop", 3)))
    with pytest.raises(UsageError, match="s: has this study with 3 seeds, more than 2; give --seeds 3"):
        conduct_study(study, folder, seeds=2, executor=Here())
    other = replace(study, plan=replace(study.plan, variants={"b": {}}))
    with pytest.raises(UsageError, match=r"variants\.a is left out; grid\.training\.seed leaves out 2"):
        conduct_study(other, folder, seeds=2, executor=Here())


def test_a_stopped_study_has_no_verdicts(tmp_path):
    folder = tmp_path / "s"
    assert conduct_study(study_of(), folder, seeds=2, executor=Here(), should_stop=lambda: True)[1] == ()
    seen = []

    def between_stages():
        """Return whether all trials have ended, before tuning has proposed further ones."""
        return bool(seen) and all(state.is_over for state in seen[0].values())

    options = {"executor": Here(), "workers": 9, "observe": seen.append, "should_stop": between_stages}
    board, verdicts = conduct_study(study_of("lr=x0.5,1"), folder, seeds=2, **options)
    assert all(state.is_over for state in board.values())
    assert verdicts == ()
    assert not (folder / "study.md").exists()


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("variant", load_study("mini-batch").plan.variants)
def test_the_first_steps_at_the_paper_s_scale(variant, tmp_path):
    """With 8,000 features and batches of 1,024, the loss stays finite and decreases for Gauss-Newton."""
    plan = plan_of(load_study("mini-batch"), "paper", 1)
    (trial,) = [trial for trial in plan_trials(plan) if trial.choices["variant"] == variant]
    few = {"training": {"steps": 2, "eval_train_rows": 1000}, "data": {"subset": 2048}}
    outcome = start_run(build_config(merge_settings(few, dict(trial.settings))), tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert (outcome.status, run.config["network"]["hidden"]) == ("finished", 8000)
    assert run.steps["loss"][0] == pytest.approx(np.log(10), rel=0.2)
    assert run.steps["loss"][1] < run.steps["loss"][0] or variant in ("adam", "sgd")
    assert np.isfinite(run.epochs["test_loss"]).all()
