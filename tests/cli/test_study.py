"""`revgn study`: the list of studies, dry runs, invalid options, and a complete study."""

import json

import pytest

from revgn.launch import start_run
from revgn.settings import build_config
from revgn.studies import load_study, plan_of, study_names
from revgn.sweeps import forecast, plan_toml


def test_the_list_of_studies(invoke):
    lines = invoke("study").stdout.splitlines()
    assert [line.split()[0] for line in lines] == study_names()
    assert "Which generalized inverse" in invoke("study").stdout
    assert [study["name"] for study in json.loads(invoke("study", "--json").stdout)] == study_names()


def test_the_list_of_studies_fits_a_terminal(on_terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    process, terminal = on_terminal("study")
    lines = terminal.read().splitlines()
    assert process.wait() == 0
    assert max(map(len, lines)) <= 80
    assert len(lines) > len(study_names())


def test_dry_runs(invoke, tmp_path, monkeypatch):
    """Tuning tries at most two further and two finer values for each variant, then the best on all seeds."""
    monkeypatch.setattr(forecast, "trial_seconds", lambda settings: [60.0 for _ in settings])
    text = invoke("study", "inverse", "--dry-run").stdout
    assert text.startswith("Exact Gauss-Newton in mini-batches")
    assert text.splitlines()[-2:] == [
        "15 trials to begin with, at most 45 in all, in runs/study-inverse-laptop",
        "time at least 15m00s for these, about 45m00s for all, with 1 worker on this machine",
    ]
    race = invoke("study", "race", "--dry-run").stdout.splitlines()
    assert race[-1] == "time at least 1m00s for these, unknown for the others, with 1 worker on this machine"
    paper = invoke("study", "switch", "--scale", "paper", "--dry-run", "--seeds", 2, "--json").stdout
    assert [trial["seconds"] for trial in json.loads(paper)] == [60.0] * 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("invers",), "there is no 'invers'; did you mean inverse?"),
        (("inverse", "--data", "mnst"), "'mnst' is neither a known name"),
        (("data-size", "--data", "auto-mpg"), "subset: 1000 is more than the 283 training rows"),
        (("inverse", "--data", "mnst", "--dry-run"), "'mnst' is neither a known name"),
        (("inverse", "--seeds", 0), "seeds: 0 is not at least 1"),
        (("inverse", "--scale", "huge"), "'huge' is not one of"),
        (("inverse", "--workers", 0), "workers: 0 is not at least 1"),
        (("--seeds", 2), "--seeds: has no effect without the name of a study"),
        (("--dry-run", "--json"), "--dry-run: has no effect without the name of a study"),
        (("--out", "s", "-q"), "--out: has no effect without the name of a study"),
    ],
)
def test_invalid_options(invoke, options, message):
    found = invoke("study", *options)
    assert found.exit_code == 2
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize("data", ["digits", "auto-mpg"])
def test_a_dry_run_with_a_data_set_smaller_than_the_subset(invoke, data):
    """The study uses all rows, and says so; the claims can be judged as they are."""
    found = invoke("study", "inverse", "--data", data, "--dry-run")
    rows = {"digits": 1293, "auto-mpg": 283}[data]
    text = f"revgn: {data}: all {rows} training rows are used, fewer than the 20000 of the study\n"
    assert (found.exit_code, found.stderr) == (0, text)
    assert (
        f"15 trials to begin with, at most 45 in all, in runs/study-inverse-laptop-{data}\n" in found.stdout
    )


def test_a_dry_run_checks_the_folder_as_the_study_does(invoke, tmp_path):
    """A folder with more seeds, with another study, or of a run is refused in the same words."""
    study = load_study("inverse")
    for name, seeds, of in (("more", 3, study), ("other", 2, load_study("momentum"))):
        plan = plan_of(of, "laptop", seeds)
        start_run(build_config({}), tmp_path / name / "run", should_stop=lambda: True)
        (tmp_path / name / "sweep.toml").write_text(plan_toml(plan))
    for folder, message in (
        ("more", "more: has this study with 3 seeds, more than 2; give --seeds 3"),
        ("other", "other: is the folder of another sweep"),
        ("more/run", "more/run: is the folder of a run"),
    ):
        refused = [
            invoke("study", "inverse", "--out", folder, "--seeds", 2, *dry_run)
            for dry_run in ((), ("--dry-run",), ("--dry-run", "--json"))
        ]
        assert {(found.exit_code, found.stdout) for found in refused} == {(2, "")}
        assert len({found.stderr for found in refused}) == 1
        assert message in refused[0].stderr


def test_a_complete_study(invoke, tmp_path, monkeypatch, in_process):
    """A small study prints its page, or its verdicts as JSON."""
    from dataclasses import replace

    import revgn.studies as studies

    def small(name):
        study = load(name)
        tiny = {
            "data": {"name": "digits", "subset": 200},
            "network": {"hidden": 16, "blocks": 1},
            "training": {"batch_size": 60, "epochs": 1, "eval_every": None},
        }
        keep = ("adam", "minimum-norm", "block-uniform", "momentum")
        variants = {name: study.plan.variants[name] for name in keep} | more
        return replace(study, scales={"laptop": tiny}, tune="", plan=replace(study.plan, variants=variants))

    load, more = studies.load_study, {}
    monkeypatch.setattr(studies, "load_study", small)
    found = invoke("study", "inverse", "--seeds", 2, "-q", "--out", "s")
    assert found.exit_code == 0
    assert found.stdout.startswith("# Which generalized inverse\n")
    assert found.stdout.endswith("\ns/study.md\n")
    assert (tmp_path / "s" / "study.svg").exists()
    more["impossible"] = {
        "training": {"loss": "squared-error"},
        "optimizer": {"solver": {"outputs": "centered-logits"}},
    }
    found = invoke("study", "inverse", "--seeds", 2, "-q", "--out", "s", "--json")
    assert (found.exit_code, len(found.stderr.splitlines())) == (1, 1)
    assert found.stderr.startswith("impossible_seed=0_")
    assert " (and 1 more): failed: outputs: centered-logits is only for cross-entropy" in found.stderr
    rows = json.loads(found.stdout)
    assert {row["answer"] for row in rows} <= {"agrees", "disagrees", "cannot tell"}
    assert len(rows) == 3
