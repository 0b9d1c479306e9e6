"""The main command: help without slow imports, hints, and one-line errors."""

import errno
import json
import re
import resource
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import run
from revgn_cli.main import COMMANDS, main
from revgn_cli.option_text import full_text, metavar_of, short_text

from revgn.arrays import cupy_absence
from revgn.settings import PRESETS, named_settings, words_of
from revgn.store import list_runs, open_run


def the_line(result, code):
    """Return the one-line error message of a result, and check its exit code."""
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("run ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("revgn: ")
    assert result.stdout == ""
    return lines[0].removeprefix("revgn: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, invoke, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert len(result.stdout.splitlines()) > 5
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_lists_the_commands(invoke):
    text = invoke("--help").stdout
    assert text == invoke("-h").stdout
    assert all(name in text and line in text for name, line in COMMANDS.items())


def test_help_of_train_shows_choices_and_defaults(invoke):
    """The help shows them for the default kinds; `--help-all` shows all of them with their kinds."""
    short, full = (" ".join(invoke("train", option).stdout.split()) for option in ("--help", "--help-all"))
    assert "[default: 512 with dense]" in short
    assert "[gauss-newton (default), sgd, adam, " in short
    assert "--lr NUMBER Learning rate. [default: from the data]" in short
    assert "[N|full]" in short
    assert " 0.1 (sgd); 0.001 (adam);" in full
    assert "(minimum-norm, cg, auto). " in full
    assert "default: 0.03 (kfac); from the data, else 0.0 (minimum-norm, block, cg, auto)]" in full


@pytest.mark.parametrize(("name", "lines"), [("train", 85), ("sweep", 115)])
def test_help_shows_the_common_settings_by_subject(name, lines, invoke, monkeypatch):
    """The help fits on two screens of 80 columns; `--help-all` shows every setting with its default."""
    monkeypatch.setenv("COLUMNS", "80")
    short, full = invoke(name, "--help").stdout, invoke(name, "--help-all").stdout
    heads = ["Data:", "Network:", "Optimizer:", "Solver:", "Training:", "Command:"]
    for text in (short, full):
        assert [line for line in text.splitlines() if line in heads] == heads
        assert max(map(len, text.splitlines())) <= 80
    assert len(short.splitlines()) <= lines
    assert "--halvings" not in short
    assert "\n--help-all shows all settings" in short
    flags = {f"--{option.replace('_', '-')}" for option in named_settings()}
    assert all(f"  {flag} " in full for flag in flags)
    assert sum(f"  {flag} " in short for flag in flags) < len(flags) / 2


@pytest.mark.parametrize("name", named_settings())
def test_an_option_states_its_default_and_choices(name):
    for text in (short_text(name), full_text(name)):
        assert "default" in text
    words = {word for of in named_settings()[name] for word in words_of(of)}
    assert all(word in metavar_of(name) + full_text(name) for word in words)


def test_help_avoids_slow_imports():
    code = """
import sys
from revgn_cli.main import main
try:
    main(["--help"])
finally:
    heavy = {"numpy", "scipy", "h5py", "cupy", "matplotlib", "rich", "msgspec", "revgn"}
    print(sorted(heavy & set(sys.modules)))
"""
    done = run([sys.executable, "-c", code])
    assert done.stdout.splitlines()[-1] == "[]"


def test_completion(spawn, monkeypatch):
    """Click completes commands, options and choices."""
    monkeypatch.setenv("_REVGN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "revgn export --to te")
    monkeypatch.setenv("COMP_CWORD", "3")
    stdout, stderr = spawn(program="revgn").communicate()
    assert stdout == "plain,tensorboard\n", stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train -s optimizer.ki", {"optimizer.kind="}),
        ("train -s optimizer.kind = ad", {"adam"}),
        ("train -s optimizer.kind =", {"adam", "sgd", "gauss-newton"}),
        ("train --optimizer adam -s optimizer.beta", {"optimizer.beta1=", "optimizer.beta2="}),
        ("train --preset paper-mn", {"paper-mnist", "paper-mnist-full-batch"}),
        ("train --data fa", {"fashion-mnist"}),
        ("train --solver b", {"block"}),
        ("plot --what rho", {"rho", "rho_outputs"}),
        ("plot --against lr --what last_test", {"last_test_accuracy", "last_test_loss"}),
        ("plot --against optimizer.solver.da", {"optimizer.solver.damping"}),
        ("study gap", {"gap"}),
        ("study gap --data mn", {"mnist"}),
        ("sweep --grid activation = ta", {"tanh"}),
        ("sweep --grid activation = relu,ta", {"relu,tanh"}),
        ("sweep --tune optimizer.l", {"optimizer.lr"}),
        ("data fetch cif", {"cifar10"}),
        ("sweep --dask lo", {"local"}),
    ],
)
def test_values_are_completed_in_bash(line, expected, monkeypatch, capsys):
    """As bash passes the words: it splits them at "="."""
    words = ["revgn", *line.split()]
    monkeypatch.setenv("_REVGN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        main(prog_name="revgn")
    found = [each.partition(",")[2] for each in capsys.readouterr().out.splitlines()]
    assert expected <= {*found}
    if not words[-1].endswith("="):
        assert all(value.startswith(words[-1]) for value in found)


def test_completion_in_bash_itself(tmp_path):
    """The function that bash runs; a key that ends in "=" is not followed by a space."""
    script = """
eval "$(_REVGN_COMPLETE=bash_source {revgn})"
compopt() {{ echo compopt "$@"; }}
COMP_WORDS=(revgn train -s optimizer.kin) COMP_CWORD=3; _revgn_completion {revgn}; echo "${{COMPREPLY[@]}}"
COMPREPLY=() COMP_WORDS=(revgn train -s optimizer.kind = ad) COMP_CWORD=5; _revgn_completion {revgn}
echo "${{COMPREPLY[@]}}"
"""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("requires bash")
    revgn = Path(sys.executable).with_name("revgn")
    done = run([bash, "-c", script.format(revgn=revgn)])
    assert done.stdout.splitlines() == ["compopt -o nospace", "optimizer.kind=", "adam"], done.stderr


def test_every_command_has_an_example(invoke):
    for name in COMMANDS:
        if name != "data":
            assert f"revgn {name}" in invoke(name, "--help").stdout.partition("\n")[2], name


def test_the_reference_is_up_to_date(invoke):
    """If it is not, run `revgn reference > examples/reference.md`."""
    path = Path(__file__).parents[2] / "examples" / "reference.md"
    text = invoke("reference").stdout
    assert text == path.read_text(encoding="utf-8")
    for words in (
        "### revgn sweep",
        "### revgn data fetch [OPTIONS] NAME",
        "`--grid KEY=VALUES`",
        "| `momentum` | `0.0` |",
        "`rho`",
    ):
        assert words in text


def test_python_m_runs_the_command_line():
    done = run([sys.executable, "-m", "revgn", "--version"])
    assert done.stdout.startswith("revgn, version 0.")


def test_version(invoke):
    assert invoke("--version").stdout.startswith("revgn, version 0.")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "did you mean train?"),
        ("plott", "did you mean plot?"),
        ("xyz", "see "),
    ],
)
def test_unknown_commands(name, hint, invoke):
    result = invoke(name)
    assert result.exit_code == 2
    assert f"no such command '{name}'; {hint}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--hidden", "0"], 2, "network.hidden: 0 cannot be used; expected a whole number in [1, 1e+09]"),
        (["--lr", "nan"], 2, "optimizer.lr: nan cannot be used"),
        (["-s", "lr=nan"], 2, "optimizer.lr: nan cannot be used"),
        (["--seed", "-1"], 2, "training.seed: -1 cannot be used"),
        (["--seed", str(2**80)], 2, "training.seed"),
        (["--batch-size", "5000"], 2, "batch_size: 5000 is not between 1 and the 1437 training rows"),
        (["--subset", "5000"], 2, "subset: 5000 is more than the 1437 training rows"),
        (["--preset", "paper-mnst"], 2, "preset: unknown name 'paper-mnst'; did you mean paper-mnist?"),
        (
            ["--optimizer", "adam", "--damping", "0.1"],
            2,
            "--damping: adam has no damping; gauss-newton's solvers and kfac have",
        ),
        (
            ["-s", "optimizer.momentun=0.9"],
            2,
            "optimizer.momentun: unknown setting; did you mean optimizer.momentum?",
        ),
        (["--set", "hiden=8"], 2, "-s hiden=8: unknown setting; did you mean hidden?"),
        (["-s", "optimizer.carry=0.9"], 2, "optimizer.carry: is now optimizer.momentum"),
        (["--hidden", "many"], 2, "network.hidden: 'many' cannot be used; expected a whole number"),
        (
            ["--optimizer", "lion"],
            2,
            "optimizer.kind: unknown name 'lion'; expected one of gauss-newton, sgd",
        ),
        (["--batch-size", "ful"], 2, "training.batch_size: 'ful' cannot be used; expected full, a whole"),
        (["--solver", "block", "--block-weights", "a,b"], 2, "'a,b' cannot be used; expected uniform, fir"),
        (["-s", "preset=[1]"], 2, "preset: unknown name"),
        (["-s", "optimizer.lr"], 2, "--set optimizer.lr: expected key=value"),
        (["--solver", "block", "--block-weights", "0.5,0.6"], 2, "sum to 1.1; expected 1"),
        (["--solver", "block", "--block-weights", "1,0,0"], 2, "block_weights: 3 numbers for 2 blocks"),
        (["--data", "digit"], 2, "did you mean digits?"),
        (["--data", ""], 2, "data.name: is empty; give a data set, a file or a folder"),
        (["--data", "whole.npz", "--inputs", "x", "--targets", "z"], 2, "no array 'z'; it holds x, y"),
        (["--data", "nothing.npz"], 2, "nothing.npz: there is no such file"),
        (["--data", "digits", "--task", "regression"], 2, "digits has classes"),
    ],
)
def test_invalid_settings_in_options(arguments, code, says, invoke, tmp_path):
    save(tmp_path / "whole.npz")
    assert says in the_line(invoke("train", *arguments, "--out", "run"), code)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--hiden", "8"], "No such option"),
        (["--carry", "0.9"], "train: --carry: is now --momentum; see "),
        (["--inverse", "block"], "--inverse: is now --solver"),
        (["--shares", "last"], "--shares: is now --block-weights"),
        (["--second-lr", "1"], "--second-lr: is now -s optimizer.second.lr=..."),
        (["--learning-rate", "1"], "train: --learning-rate: is called --lr; see "),
        (["--lr"], "train: Option '--lr' requires an argument; see "),
        (["--out", ""], "train: Invalid value for '--out': the path is empty; see "),
        (["--adapt-damping"], '--adapt-damping: is now optimizer = {kind = "levenberg-marquardt"'),
        (["--trust-change", "1"], "--trust-change: was removed, since it did not help"),
        (["nowhere.toml"], "'nowhere.toml' does not exist"),
    ],
)
def test_invalid_options_that_click_rejects(arguments, says, invoke):
    result = invoke("train", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "file"], "file: is a file; give the folder of a run"),
        (["check", "file"], "file: is a file; give the folder of a run"),
        (["compare", "file"], "file: is a file; give the folder of a run"),
        (["check", "nothing"], "nothing: there is no such folder"),
        (["sweep", "folder"], "folder: is not the folder of a sweep: it has no sweep.toml"),
        (["data", "describe", "digits", "--test-fraction", "2"], "data.test_fraction: 2.0 cannot be used"),
    ],
)
def test_a_wrong_path_or_value_is_named_in_the_same_words(arguments, says, invoke, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    assert says in the_line(invoke(*arguments), 2)


@pytest.mark.parametrize("arguments", ["data list", "--version", "--help", "show --help"])
def test_a_full_standard_output_is_named(arguments, spawn):
    with open("/dev/full", "w") as full:
        process = spawn(*arguments.split(), stdout=full)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors == "revgn: standard output: cannot be written: No space left on device\n"


def test_a_read_only_folder_is_named(invoke, monkeypatch):
    def read_only(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", read_only)
    line = the_line(invoke("train", "--steps", 1), 1)
    assert line == "runs: cannot be written: Read-only file system"


def test_no_gpu(invoke):
    if cupy_absence() is None:
        pytest.skip("CuPy works here")
    line = the_line(invoke("train", "--backend", "cupy", "--out", "run"), 2)
    assert line.startswith("backend cupy: ")
    assert line.endswith("use --backend numpy")


def save(path, **arrays):
    x = np.random.default_rng(50).standard_normal((40, 6))
    np.savez(path, **({"x": x, "y": np.arange(40) % 3} | arrays))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("truncated.npz", "truncated.npz: cannot be read"),
        ("empty.npz", "empty.npz: the file is empty"),
        ("nan.npz", "nan.npz: training set: values are missing in 1 of 40 rows (1 in input column 2)"),
        ("constant.npz", "constant.npz: all 6 inputs are constant in the 32 training rows"),
        ("outside.npz", "outside.npz: test targets: label '7' in row 0 (from 0) is not one of the 3 classes"),
        ("long.npz", "long.npz: training inputs: 240 of 240 numbers are not finite"),
        ("text.csv", "column 'a': 'two' is not a number"),
    ],
)
def test_invalid_data(name, says, invoke, tmp_path):
    x = np.random.default_rng(50).standard_normal((40, 6))
    bad = x.copy()
    bad[3, 2] = np.nan
    save(tmp_path / "whole.npz")
    (tmp_path / "truncated.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-500])
    (tmp_path / "empty.npz").write_bytes(b"")
    save(tmp_path / "nan.npz", x=bad)
    save(tmp_path / "constant.npz", x=x * 0)
    save(tmp_path / "long.npz", x=x.astype(np.longdouble) * np.longdouble("1e4000"))
    save(tmp_path / "outside.npz", x_test=x, y_test=np.full(40, 7))
    (tmp_path / "text.csv").write_text("a,b\n1,2\ntwo,4\n")
    options = ["--target", "b"] if name.endswith("csv") else []
    assert says in the_line(invoke("train", "--data", name, *options, "--out", "run"), 1)
    assert not (tmp_path / "run").exists()


def test_invalid_settings_in_a_file(invoke, tmp_path):
    for text, says in [
        ("[optimizer]\nlearning_rate = 1\n", "optimizer.learning_rate: is called optimizer.lr"),
        (
            "[training]\nschedul = 'cosine'\n",
            "training.schedul: unknown setting; did you mean training.schedule?",
        ),
        ("[network]\nhiden = 8\n", "network.hiden: unknown setting; did you mean network.hidden?"),
        ("lr = 8\n", "lr: unknown setting; did you mean optimizer.lr?"),
        ("[network]\nhidden = '8'\n", "network.hidden: '8' cannot be used"),
        ("[network\n", "own.toml: not TOML"),
        ("network = 8\n", "network: 8 cannot be used; expected a table of settings"),
    ]:
        (tmp_path / "own.toml").write_text(text)
        assert says in the_line(invoke("train", "own.toml", "--out", "run"), 2)
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe\x00")
    the_line(invoke("train", "own.toml", "--out", "run"), 2)


def test_an_existing_folder(train, invoke, tmp_path):
    assert train("run").exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert "run: is not empty, and runs are never overwritten" in the_line(train("run", "-q"), 1)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    (tmp_path / "file").touch()
    assert "cannot be written" in the_line(invoke("train", "--out", "file/run"), 1)


@pytest.mark.parametrize("name", ["show", "resume", "eval"])
def test_folders_that_are_not_runs(name, invoke, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty: is not a run" in the_line(invoke(name, "empty"), 1)


@pytest.mark.parametrize(
    "name", ["plot", "compare", "report", "export", "watch", "check", "show", "resume", "eval"]
)
def test_folders_that_do_not_exist(name, invoke):
    assert "none: there is no such folder" in the_line(invoke(name, "none"), 2)


@pytest.mark.parametrize(
    ("name", "says"), [("none", "'none' is neither a known name"), ("none.csv", "there is no such file")]
)
def test_data_that_do_not_exist(name, says, invoke):
    assert says in the_line(invoke("data", "describe", name), 2)


@pytest.mark.parametrize("steps", [[], ["--checkpoint-every", "1"]])
def test_a_loss_that_is_not_finite(steps, invoke, tmp_path):
    options = ["--optimizer", "adam", "--lr", "1e30", "--hidden", "32", "--batch-size", "64", "-q", *steps]
    line = the_line(invoke("train", *options, "--out", "run"), 1)
    assert line == "step 2: the loss is nan and the step's norm nan; try a smaller lr (now 1e+30)"
    found = json.loads(invoke("show", "run", "--json").stdout, parse_constant=pytest.fail)
    assert (found["status"], found["message"]) == ("diverged", line)
    assert (tmp_path / "run" / "checkpoints" / "step_00000000.h5").exists()


@pytest.mark.parametrize(
    ("place", "says"),
    [("launch.start.initial_state", "not enough memory: "), ("training.loop.train_step", "out of memory: ")],
)
def test_a_full_device(place, says, invoke, monkeypatch):
    """The device memory is exhausted before or during training."""

    def full(*arguments):
        raise RuntimeError("cudaErrorMemoryAllocation: out of memory")

    monkeypatch.setattr(f"revgn.{place}", full)
    line = the_line(invoke("train", "--optimizer", "sgd", "--hidden", "32", "-q"), 1)
    assert line.startswith(f"{says}cudaErrorMemoryAllocation: out of memory; ")


@pytest.mark.parametrize(
    ("room", "out"), [(2_000, ["--out", "run"]), (2_000, []), (250_000, ["--out", "run"])]
)
def test_a_full_disk(room, out, spawn, tmp_path):
    """Files are limited to `room` bytes, so that the first snapshot or the first checkpoint does not fit.

    A run without a first snapshot leaves nothing: its folder would be neither a run nor usable.
    """
    process = spawn(
        *("train", "--hidden", 256, "--optimizer", "adam", "--steps", 4, *out, "-q"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY)),
    )
    output, errors = process.communicate()
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if not line.startswith("run ")]
    assert len(lines) == 1
    assert "cannot be written: File too large" in lines[0]
    assert output == ""
    assert not list(tmp_path.rglob(".partial"))
    left = [path.name for path in tmp_path.iterdir()]
    assert left == (["run"] if room > 2_000 else [] if out else ["runs"])
    assert [open_run(folder).status for folder in list_runs(tmp_path)] == ["failed"] * (room > 2_000)
    assert list((tmp_path / "runs").glob("*")) == []


def test_the_help_lists_all_presets():
    """It names the endings of the set-ups of the paper once for both."""
    meaning = named_settings()["preset"][0].meaning
    for name in PRESETS:
        ending = re.search(r"-relu|-full-batch|$", name)[0]
        assert f" {name.removesuffix(ending)}" in meaning
        assert f" {ending}" in meaning
