"""`revgn train` and `revgn resume`: settings, console output, and files."""

import json
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from revgn_cli.progress import Progress
from revgn_cli.train import _new_folder

from revgn.optimizers import KFAC, SGD, Adam, GaussNewton, Muon, Paced
from revgn.settings import build_config, flat, parse_toml
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm
from revgn.store import open_run


def test_training_with_default_options_learns_the_digits(invoke, tmp_path):
    result = invoke("train")
    assert result.exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("digits-gauss-newton-")
    run = open_run(folder)
    assert run.status == "finished"
    assert run.epochs["test_accuracy"][-1] >= 0.97
    assert result.stdout.splitlines()[-1] == f"revgn show runs/{folder.name}"
    assert "finished after 220 steps" in result.stdout
    assert "revgn: chosen for 1,437 rows of digits: training.batch_size = 64, " in result.stderr


def test_an_odd_number_of_zeros_that_becomes_even_is_noted(invoke):
    text = "note        network.padding: 1 is rounded up to 2, since both halves have the same width\n"
    for padding, is_noted in ((1, True), (2, False)):
        assert (text in invoke("train", "--dry-run", "--padding", padding).stdout) == is_noted


def test_the_interpretation_of_a_file_is_printed_before_training(invoke, tmp_path, in_process):
    rows = "".join(f"{k};{7 * k % 101},5;3;{('ant', 'bee', 'cat')[k % 3]}\n" for k in range(100))
    (tmp_path / "own.csv").write_text(f";size;legs;kind\n{rows}")
    few = ["--hidden", 16, "--steps", 1, "-q"]
    result = invoke("train", "--data", "own.csv", "--target", "kind", *few, "--out", "run")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[:4] == [
        "revgn: own.csv: classification into 3 classes (column 'kind' holds text); 80 training and 20 test "
        "rows of 2 inputs; separator ';', decimal ','",
        "revgn: own.csv: column 1 has no name (0, 1, 2, ...) and is left out",
        "revgn: own.csv: input column 'legs' is constant in the training rows and without effect",
        "revgn: the 2 inputs are padded with zeros to 4 for 3 classes (network.padding)",
    ]
    for other in (
        ["train", "--dry-run"],
        ["sweep", "--grid", "lr=0.1", "--out", "sweep", "--steps", 1, "-q"],
    ):
        said = invoke(*other, "--data", "own.csv", "--target", "kind", "--hidden", 16).stderr
        assert said.splitlines()[:3] == result.stderr.splitlines()[:3]
    assert invoke("resume", "run", "--steps", 2, "-q").exit_code == 0
    chosen = ["--columns", "-legs", "--separator", ";", "--decimal", ",", "--padding", 3]
    again = invoke("train", "--data", "own.csv", "--target", "kind", *chosen, *few, "--out", "again")
    assert "1 input; separator" in again.stderr
    assert "legs" not in again.stderr
    assert "padded" not in again.stderr
    config = flat(open_run(tmp_path / "again").config)
    assert (config["data.columns"], config["data.decimal"], config["network.padding"]) == ("-legs", ",", 3)


def test_json(train, invoke):
    trained = train("run", "--json")
    found = json.loads(trained.stdout)
    metrics = {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "epoch", "samples"}
    assert set(found) == {"run", "status", "step", "resume", "seconds", "seconds_outside"} | metrics
    assert (found["run"], found["status"], found["step"]) == ("run", "finished", 4)
    assert found["resume"] == "revgn resume run"
    more = json.loads(invoke("resume", "run", "--steps", 6, "--json", "-q").stdout)
    assert set(more) == set(found)
    assert (more["status"], more["step"]) == ("finished", 6)


def test_a_file_and_options(train, invoke, tmp_path):
    text = "[optimizer]\nkind = 'adam'\nlr = 0.25\n[training]\nseed = 3\n[data]\nname = 'digits'\n"
    (tmp_path / "own.toml").write_text(text)
    arguments = ["--seed", 4, "-s", "optimizer.beta1=0.5", "--set", "network.blocks=1"]
    assert train("run", *arguments, "own.toml").exit_code == 0
    config = flat(open_run(tmp_path / "run").config)
    expected = {"optimizer.kind": "adam", "optimizer.lr": 0.25, "optimizer.beta1": 0.5}
    expected |= {"training.seed": 4, "network.blocks": 1, "training.batch_size": 64}
    assert {path: config[path] for path in expected} == expected
    saved = tmp_path / "run" / "config.toml"
    assert tomllib.loads(saved.read_text())["optimizer"]["beta1"] == 0.5
    assert (
        invoke("train", saved, "--out", "again", "-q").exit_code == 0
    )  # the stored settings of a run can start another run
    again, run = open_run(tmp_path / "again"), open_run(tmp_path / "run")
    assert again.config == run.config
    assert again.steps["loss"].tolist() == run.steps["loss"].tolist()


COMMANDS = [
    (
        "--optimizer gauss-newton --solver minimum-norm --damping 0.1 --momentum 0.9",
        GaussNewton(MinimumNorm(damping=0.1), momentum=0.9),
    ),
    (
        "--solver block --block-weights uniform --rtol 1e-2",
        GaussNewton(BlockWise(block_weights="uniform", rtol=0.01)),
    ),
    ("--solver cg --tolerance 1e-2", GaussNewton(ConjugateGradients(tolerance=0.01))),
    ("--optimizer adam --lr 1e-3 --weight-decay 0.01", Adam(lr=1e-3, weight_decay=0.01)),
    ("--optimizer kfac --damping 0.03", KFAC(damping=0.03)),
    ("-s optimizer.solver.damping=0.1", GaussNewton(MinimumNorm(damping=0.1))),
    ("own.toml", GaussNewton(MinimumNorm(damping=0.1, outputs="centered-logits"), momentum=0.9)),
    ("own.toml --damping 0.2 --lr 0.5", None),
    ("--optimizer muon --no-nesterov", Muon(nesterov=False)),
    ("--optimizer sgd --momentum 0.5 --nesterov", SGD(momentum=0.5, nesterov=True)),
    ("-s optimizer.damping=0.1 -s optimizer.kind=kfac", KFAC(damping=0.1)),  # in any order
]


@pytest.mark.parametrize(("options", "optimizer"), COMMANDS)
def test_combinations_of_options(options, optimizer, train, tmp_path):
    (tmp_path / "own.toml").write_text(
        "[optimizer]\nkind = 'gauss-newton'\nmomentum = 0.9\n"
        "solver = {kind = 'minimum-norm', damping = 0.1, outputs = 'centered-logits'}\n"
    )
    solver = MinimumNorm(damping=0.2, outputs="centered-logits")
    expected = optimizer or GaussNewton(solver, lr=0.5, momentum=0.9)
    result = train("run", *options.split(), "-q", "--preset", "plain")
    assert (result.exit_code, result.stderr) == (0, "")
    assert build_config(open_run(tmp_path / "run").config).optimizer == expected
    assert build_config(parse_toml((tmp_path / "run" / "config.toml").read_text(), "")).optimizer == expected


def test_printed_settings_can_be_used_as_a_file(invoke, train, tmp_path):
    wrapped = ("--optimizer", "paced", "--trust-radius", 2, "--solver", "cg", "--preconditioner", "none")
    text = invoke("train", *wrapped, "--preset", "plain", "--print-config").stdout
    (tmp_path / "own.toml").write_text(text)
    assert '# Preconditioner of conjugate gradients; one of blocks.\npreconditioner = "none"\n' in text
    assert train("run", "own.toml", "-q").exit_code == 0
    found = build_config(open_run(tmp_path / "run").config).optimizer
    assert found == Paced(GaussNewton(ConjugateGradients(preconditioner=None)), trust_radius=2.0)


@pytest.mark.parametrize("weights", ["uniform", "0.25,0.75"])
def test_block_weights(weights, train, invoke, tmp_path):
    assert train("run", "--solver", "block", "--block-weights", weights, "-q").exit_code == 0
    solver = open_run(tmp_path / "run").config["optimizer"]["solver"]
    assert solver["block_weights"] in ("uniform", [0.25, 0.75])
    assert invoke("resume", "run", "--steps", 5, "-q").exit_code == 0


def test_a_full_batch(invoke, tmp_path):
    options = ["--subset", 50, "--hidden", 16, "--batch-size", "full", "--epochs", 3]
    assert invoke("train", *options, "--out", "run").exit_code == 0
    assert open_run(tmp_path / "run").steps["samples"].tolist() == [50, 100, 150]


@pytest.mark.parametrize(
    "optimizer",
    [
        *(["--optimizer", name] for name in ("adam", "sgd", "muon", "kfac", "lbfgs")),
        *(["--solver", name] for name in ("block", "cg", "minimum-norm")),
    ],
    ids=lambda options: options[1],
)
def test_a_dry_run_writes_nothing(optimizer, invoke, tmp_path):
    optimizer = [*optimizer, "--preset", "plain"]
    text = invoke("train", *optimizer, "--dry-run").stdout
    for word in ("1,437 rows of 64 features, 10 outputs", "parameters  65,664", "memory ", "step  ", "time "):
        assert word in text
    found = json.loads(invoke("train", *optimizer, "--dry-run", "--json").stdout)
    assert set(found) >= {"features", "outputs", "parameters", "memory_bytes", "seconds_per_step", "steps"}
    assert (found["parameters"], found["steps"], found["batch_size"]) == (4 * 513 * 32, 25, 256)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_checks_the_folder_as_training_does(invoke, tmp_path):
    """An empty folder is no run yet."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "notes").mkdir(parents=True)
    found = [invoke("train", "--preset", "plain", "--out", "full", *more) for more in ((), ("--dry-run",))]
    for each in found:
        assert (each.exit_code, each.stdout) == (1, "")
        assert each.stderr.startswith("revgn: full: is not empty, and runs are never overwritten")
    for folder in ("empty", "new"):
        assert invoke("train", "--preset", "plain", "--out", folder, "--dry-run").exit_code == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "kernel      dense"),
        (["--memory", "24MB"], "kernel      by tiles\n"),
        (["--memory", "5MB"], "kernel      by tiles, 0.0"),
    ],
)
def test_a_dry_run_prints_how_the_kernel_is_solved(options, says, invoke):
    options = [*options, "--preset", "plain"]
    assert says in invoke("train", *options, "--dry-run").stdout
    found = json.loads(invoke("train", *options, "--dry-run", "--json").stdout)
    assert found["kernel"] == ("tiles" if "--memory" in options else "dense")
    assert (found["disk_bytes"] > 0) == ("5MB" in options)


def test_settings_without_effect_are_noted_or_refused(invoke, tmp_path):
    """Also by a dry run; --steps replaces --epochs, so that both together are refused."""
    tiny = ("--subset", 200, "--hidden", 16, "--batch-size", 50)
    found = invoke("train", *tiny, "--steps", 1, "--damping-every", 5, "--dry-run")
    assert "revgn: damping_every has no effect without damping leave-one-out\n" in found.stderr
    for options in [("--steps", 1, "--epochs", 2), ("--epochs", 2, "-s", "training.steps=1")]:
        found = invoke("train", *tiny, *options)
        assert (found.exit_code, len(found.stderr.splitlines())) == (2, 1)
        assert "--epochs: has no effect with -" in found.stderr
    assert list(tmp_path.iterdir()) == []
    assert invoke("train", *tiny, "--epochs", 1, "--steps", "none", "--dry-run").exit_code == 0
    (tmp_path / "own.toml").write_text("training.steps = 2")
    found = invoke("train", "own.toml", *tiny, "--epochs", 3, "--dry-run", "--json")
    assert json.loads(found.stdout)["steps"] == 3 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--seed 4 -s training.seed=3",
            "--seed and -s training.seed=3: both set training.seed; use only one of",
        ),
        (
            "--lr 0.1 -s optimizer.lr=0.2",
            "--lr and -s optimizer.lr=0.2: both set optimizer.lr; use only one of",
        ),
        ("--lr 0.1 -s lr=0.2", "--lr and -s lr=0.2: both set lr; use only one of them"),
        (
            "-s lr=0.2 -s optimizer.lr=0.3",
            "-s lr=0.2 and -s optimizer.lr=0.3: both set optimizer.lr; use only",
        ),
        (
            "--optimizer adam -s optimizer.kind=sgd",
            "--optimizer and -s optimizer.kind=sgd: both set optimizer",
        ),
        (
            "--steps 2 --epochs 3 -s steps=none",
            "--steps and -s steps=none: both set steps; use only one of them",
        ),
        (
            "--steps 2 -s training.epochs=3",
            "-s training.epochs=3: has no effect with --steps, which sets the len",
        ),
        ("--seed 4 -s training.seed=4", ""),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message, invoke, tmp_path):
    found = invoke("train", *options.split(), "--print-config")
    assert (found.exit_code, len(found.stderr.splitlines())) == ((2, 1) if message else (0, 0))
    assert message in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_steps_of_a_file_void_its_epochs_with_a_note(invoke, tmp_path):
    """An option replaces both. The default number of epochs, which the file of a run has, is not noted."""
    options = ("--subset", 200, "--hidden", 16, "--batch-size", 50)
    note = "revgn: training.epochs has no effect with training.steps, which sets the length of the training"
    (tmp_path / "own.toml").write_text("training = {epochs = 3, steps = 2}")
    for how in ("--dry-run", "--print-config", "-q"):
        assert note in invoke("train", "own.toml", *options, how).stderr.splitlines()
    (tmp_path / "of_run.toml").write_text("training = {epochs = 5, steps = 2}")
    assert note not in invoke("train", "of_run.toml", *options, "--dry-run").stderr
    (tmp_path / "epochs.toml").write_text("training.epochs = 3")
    for file, option in (
        ("own", "--epochs"),
        ("own", "--steps"),
        ("epochs", "--epochs"),
        ("epochs", "--steps"),
    ):
        found = invoke("train", f"{file}.toml", *options, option, 5, "--dry-run", "--json")
        assert json.loads(found.stdout)["steps"] == (5 if option == "--steps" else 5 * 4)
        assert note not in found.stderr


@pytest.mark.parametrize(
    ("options", "flag"),
    [(("--json",), "--json"), (("--out", "x"), "--out"), (("--dry-run",), "--dry-run")],
)
def test_printing_the_settings_refuses_other_actions(options, flag, invoke):
    found = invoke("train", "--print-config", *options)
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == f"revgn: {flag}: has no effect with --print-config\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("optimizer.lrr = 1", (), "own.toml: optimizer.lrr: unknown setting; did you mean optimizer.lr?"),
        ("optimizer.lr = -1", ("--seed", 2), "own.toml: optimizer.lr: -1.0 cannot be used"),
        ("optimizer = 'adm'", ("--lr", 2), "--lr: optimizer.kind: unknown name 'adm'"),
        ("optimizer.lr = 1", ("--hidden", -1), "revgn: network.hidden: -1 cannot be used"),
        ("out = 'x'", (), "own.toml: out: is an option of the command (--out), not a setting"),
    ],
)
def test_an_error_in_a_file_of_settings_names_the_file(text, options, message, invoke, tmp_path):
    (tmp_path / "own.toml").write_text(text)
    found = invoke("train", "own.toml", *options)
    assert (found.exit_code, len(found.stderr.splitlines())) == (2, 1)
    assert message in found.stderr


def test_auto_chooses_a_solver_and_stores_it_in_the_run(invoke, tmp_path):
    options = ("--subset", 64, "--hidden", 8, "--batch-size", 32, "--solver", "auto", "--damping", 0.1)
    text = invoke("train", *options, "--dry-run").stdout
    found = json.loads(invoke("train", *options, "--dry-run", "--json").stdout)
    assert set(found["seconds_by_solver"]) == {"minimum-norm", "cg"}
    assert found["seconds_per_step"] == min(found["seconds_by_solver"].values())
    assert found["solver"] == min(found["seconds_by_solver"], key=found["seconds_by_solver"].get)
    assert "solver      " in text
    assert "s per step (estimated)" in text
    trained = invoke("train", *options, "--steps", 1, "--out", "run")
    kind = open_run("run").config["optimizer"]["solver"]["kind"]
    assert kind in ("minimum-norm", "cg")
    assert f"revgn: solver {kind}: " in trained.stderr
    assert invoke("resume", "run", "--steps", 2).exit_code == 0


def test_a_singular_kernel_is_announced(invoke):
    """The message comes before training and names a remedy; here 8 features, 64 samples, 10 outputs."""
    options = ("--subset", 64, "--hidden", 8, "--batch-size", 64, "--preset", "plain")
    note = "without damping, the kernel of order 640 is singular (rank at most 360 at initialization)"
    assert note in invoke("train", *options, "--dry-run").stdout
    assert note in invoke("train", *options, "--dry-run", "--json").stdout
    trained = invoke("train", *options, "--steps", 1, "--out", "run").stderr
    assert trained.index(f"revgn: {note}") < trained.index("step 0/1")
    assert "use --damping 0.01" in trained
    remedied = invoke("train", *options, "--damping", 0.01, "--steps", 1, "--out", "remedied")
    assert "singular" not in remedied.stderr


def test_runs_started_in_the_same_second_get_different_folders(invoke, tmp_path):
    for _ in range(2):
        assert invoke("train", "--subset", 64, "--hidden", 8, "--batch-size", 32, "--steps", 1).exit_code == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_plain_progress_has_no_control_characters(train):
    result = train("run")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("revgn: chosen for ")
    assert lines[1] == "run run"
    assert "epoch 0  step 0/4  test " in lines[2]
    *others, last = [line for line in lines if "step " in line]
    assert last == lines[-1]
    assert "step 4/4" in last
    assert not [line for line in others if "step 4/4" in line]  # before its evaluation
    assert len(lines) < 9
    assert all(character.isprintable() for character in result.stderr.replace("\n", ""))
    assert "rho " in result.stderr
    assert " samples/s  0s left" in result.stderr


def test_quiet_prints_only_the_folder(train, invoke):
    result = train("run", "-q", "--schedule", "constant")
    assert result.stderr == ""
    assert invoke("resume", "run", "--steps", 5, "--quiet").stderr == ""


def test_resume_rejects_changes_that_require_a_new_run(train, invoke):
    train("run", "-q")
    for arguments, says in [
        ([], "run: has completed all 4 steps; to continue, increase training.steps (--steps)"),
        (["-s", "training.seed=2", "--steps", 6], "training.seed: cannot change on resume"),
        (["-s", "training.sed=2"], "training.sed: unknown setting; did you mean training.seed?"),
    ]:
        result = invoke("resume", "run", *arguments)
        assert result.exit_code == 2
        assert says in result.stderr
        assert result.stderr.count("\n") == 1


def test_resume_reports_a_checkpoint_that_it_skips(train, invoke, tmp_path):
    train("run", "-q", "--checkpoint-every", 1)
    newest = tmp_path / "run" / "checkpoints" / "step_00000004.h5"
    newest.write_bytes(newest.read_bytes()[:-3000])
    result = invoke("resume", "run", "--steps", 6)
    assert result.exit_code == 0
    assert "skipped a checkpoint: run/checkpoints/step_00000004.h5" in result.stderr
    assert open_run(tmp_path / "run").steps["step"].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_regression_has_no_accuracy(invoke, tmp_path):
    rows = [f"{a},{b},{a * 0.5 - b}" for a in range(-5, 6) for b in range(-3, 4)]
    (tmp_path / "own.csv").write_text("a,b,price\n" + "\n".join(rows) + "\n")
    options = ["--data", "own.csv", "--target", "price", "--hidden", 16, "--batch-size", 32, "--damping", 0.1]
    result = invoke("train", *options, "--out", "run")
    assert result.exit_code == 0
    assert "accuracy" not in result.stdout
    assert "test loss" in result.stdout
    assert " acc " not in result.stderr
    for command in (["show", "run"], ["ls", "."], ["eval", "run"], ["plot", "run"]):
        result = invoke(*command)
        assert result.exit_code == 0
        assert "accuracy" not in result.stdout


@pytest.mark.parametrize("width", [40, 68, 200])
def test_the_progress_line_fits_the_terminal(width):
    """The step and the remaining time are always shown; without the bar, the line fits 80 columns."""
    problem = SimpleNamespace(total_steps=5000, batch_size=256)
    record = {"epoch": 12.34, "loss": 0.0123456, "accuracy": 1.0, "rho": 3.4e-5, "seconds": 0.1}
    evaluation = {"epoch": 12.0, "test_loss": 0.1, "test_accuracy": 0.98765}
    progress = Progress()
    progress.line(problem, SimpleNamespace(state=SimpleNamespace(step=1000), record=evaluation), width)
    line = progress.line(problem, SimpleNamespace(state=SimpleNamespace(step=1001), record=record), width)
    assert "step 1001/5000" in line
    assert "left" in line
    assert len(line) <= max(width, 42)


def test_runs_started_at_the_same_time_get_different_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = build_config({})
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: _new_folder(config), range(24)))
    assert len(set(folders)) == 24
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_file_in_place_of_the_folder_of_runs_is_an_error(invoke, tmp_path, make):
    make(tmp_path / "runs")
    result = invoke("train", "--steps", 1)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "revgn: runs: is not a folder; rename it, or set the run folder with --out\n"


def test_a_run_that_cannot_start_leaves_no_folder(invoke, tmp_path):
    assert invoke("train", "--data", "missing.npz").exit_code == 2
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_that_diverges_is_reported(invoke, train, tmp_path):
    """By train, ls, show and compare; the records stay, and the exit code is 1."""
    found = train("run", "--optimizer", "adam", "--lr", 30, "--json", "-q")
    assert found.exit_code == 1
    line = r"revgn: step 4: the training loss is \S+ at the end, above \S+, 1000 times its initial value; try"
    assert re.match(line, found.stderr)
    assert len(found.stderr.splitlines()) == 1
    told = json.loads(found.stdout)
    assert (told["run"], told["status"]) == ("run", "diverged")
    assert found.stderr == f"revgn: {told['message']}\n"
    assert "diverged" in invoke("ls", ".").stdout
    assert told["message"] in invoke("show", "run").stdout
    assert train("good", "--optimizer", "adam", "-q").exit_code == 0
    assert "1 (1 diverged)" in invoke("compare", "run", "good").stdout
    assert (
        train("allowed", "--optimizer", "adam", "--lr", 30, "--diverged-above", "none", "-q").exit_code == 0
    )
    assert open_run(tmp_path / "run").steps["step"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (
            ("--patience", 4),
            "the switch never happens: patience is 4, and there are only the 4 steps of this run",
        ),
        (
            ("--switch-at", 9),
            "the switch never happens: switch_at is 9, and there are only the 4 steps of this run",
        ),
        (
            ("--patience", 3),
            "the switch never happened: patience is 3, and at the end of training 0 steps had passed",
        ),
        (("--switch-at", 2), ""),
    ],
)
def test_a_switch_that_does_not_happen_is_said_once(options, note, train, invoke):
    settings = ("--optimizer", "switch", "--first", "adam", "--second", "sgd", *options)
    found = train("run", *settings, "-q")
    assert found.exit_code == 0
    assert found.stderr.count("never") == bool(note)
    assert note in found.stderr
    assert note in invoke("show", "run").stdout
