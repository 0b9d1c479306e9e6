"""Sweeps run to their end: in this process, with workers that die, and with several drivers."""

import json
import os
import signal
import sys
import threading
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from processes import PATIENCE, run
from sweep_cases import Here, killer, plan_of, recorded_steps, statuses, surroundings

from revgn.errors import UsageError
from revgn.launch import check_run, resume_run, start_run
from revgn.settings import build_config, settings_by_name
from revgn.store import list_runs, open_run, open_runs, reopen_run
from revgn.store.files import STOPPING
from revgn.store.owner import this_process
from revgn.sweeps import Beat, Listed, LocalPool, plan_trials, run_sweep
from revgn.sweeps.claim import Silence, attempt, is_held, newest_claim, take, write_beat
from revgn.sweeps.pool import THREADS
from revgn.training import choose_defaults
from revgn.views import compare_runs


def test_each_trial_is_a_run(tmp_path):
    plan = plan_of(optimizer__lr="0.001,0.01", training__seed="0..1")
    here = Here()
    board = run_sweep(plan, tmp_path / "s", executor=here, command="revgn sweep")
    assert statuses(board) == ["finished"] * 4
    assert [path.name for path in list_runs(tmp_path / "s")] == sorted(here.trials)
    for name, state in board.items():
        run = open_run(tmp_path / "s" / name)
        assert run.config["optimizer"]["lr"] == state.trial.choices["optimizer.lr"]
        assert run.attributes["command"] == "revgn sweep"
        assert (state.beat.step, state.beat.steps, state.beat.epoch) == (8, 8, 2.0)
        assert state.beat.scores[-1] == (2.0, run.epochs["test_accuracy"][-1])


def test_a_trial_chooses_the_defaults_of_a_run(tmp_path):
    """Defaults are chosen for the settings of each trial: a damping for Gauss-Newton, but not for Adam."""
    plan = plan_of({"optimizer": {}, "training": {"epochs": 1}}, optimizer__kind="gauss-newton,adam")
    board = run_sweep(plan, tmp_path / "s", executor=Here())
    for name, state in board.items():
        expected = choose_defaults(dict(state.trial.settings))
        assert build_config(open_run(tmp_path / "s" / name).config) == expected.config
        assert state.message == ""
        assert ("optimizer.solver.damping" in expected.chosen) == ("gauss-newton" in name)


def test_a_repeated_sweep_runs_only_missing_trials(tmp_path):
    plan, here = plan_of(training__seed="0..2"), Here()
    board = run_sweep(plan, tmp_path / "s", executor=here)
    gone = here.trials[1]
    for path in sorted((tmp_path / "s" / gone).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = Here()
    grown = run_sweep(plan_of(training__seed="0..3"), tmp_path / "s", executor=again)
    assert again.trials == [gone, list(grown)[3]]
    assert list(grown)[:3] == list(board)
    assert statuses(grown) == ["finished"] * 4


def test_a_trial_without_run_h5_fails_with_the_remedy(tmp_path):
    plan, here = plan_of(training__seed="0..1"), Here()
    name = next(iter(run_sweep(plan, tmp_path / "s", executor=Here())))
    (tmp_path / "s" / name / "run.h5").unlink()
    board = run_sweep(plan, tmp_path / "s", executor=here)
    assert here.trials == []
    assert [state.status for state in board.values()] == ["failed", "finished"]
    assert f"revgn check --repair {tmp_path / 's' / name} makes it again" in board[name].message
    check_run(tmp_path / "s" / name, repair=True)
    assert statuses(run_sweep(plan, tmp_path / "s", executor=here)) == ["finished"] * 2
    assert here.trials == [name]


@pytest.mark.parametrize(
    ("changes", "is_ended", "message"),
    [
        ({"optimizer.lr": 1e-6}, True, "optimizer.lr is 1e-06, not 0.001"),
        ({"optimizer.lr": 1e-6}, False, "optimizer.lr is 1e-06, not 0.001"),
        ({"training.epochs": 3}, True, "training.epochs is 3, not 1"),
        ({"training.steps": 5}, True, "training.steps is 5, not none"),
        ({"training.schedule": "cosine"}, True, "training.schedule is cosine, not constant"),
        ({"training.eval_every": 3}, True, ""),  # which the plan leaves open
    ],
)
def test_a_trial_that_was_resumed_with_other_settings_says_so(tmp_path, changes, is_ended, message):
    """It counts as the trial, whether it had ended before the sweep was started again or not."""
    plan = plan_of({"epochs": 1, "schedule": "constant"}, optimizer__lr=[0.001])
    (trial,), folder = plan_trials(plan), tmp_path / "s"
    start_run(dict(trial.settings), folder / trial.name, should_stop=lambda: True)
    resume_run(folder / trial.name, settings_by_name(changes), should_stop=lambda: not is_ended)
    for _ in range(2):
        (state,) = run_sweep(plan, folder, executor=Here()).values()
        assert state.status == "finished"
        assert state.message == (message and f"its run was continued with other settings: {message}")


def test_the_folder_of_another_sweep_or_of_a_run_is_refused(tmp_path):
    """Before any trial, and without a change of the stored plan."""
    folder, here = tmp_path / "s", Here()
    run_sweep(plan_of(training__seed="0..1"), folder, executor=Here())
    stored = (folder / "sweep.toml").read_bytes()
    with pytest.raises(UsageError, match=r"would leave out: grid\.training\.seed leaves out 1"):
        run_sweep(plan_of(training__seed="0"), folder, executor=here)
    with pytest.raises(UsageError, match="is the folder of a run"):
        run_sweep(plan_of(training__seed="0"), list_runs(folder)[0], executor=here)
    assert here.trials == []
    assert (folder / "sweep.toml").read_bytes() == stored


@pytest.mark.parametrize("is_checked_before", [False, True])
def test_of_two_sweeps_that_start_at_the_same_time_one_is_refused(is_checked_before, tmp_path, monkeypatch):
    """The other one has stored its plan, but no trial of it has begun."""
    folder, here, others = tmp_path / "s", Here(), b'[grid]\n"training.seed" = [5, 6]\n'

    def store_other(*_):
        folder.mkdir()
        (folder / "sweep.toml").write_bytes(others)

    if is_checked_before:
        monkeypatch.setattr("revgn.sweeps.launch.source_of", store_other)
    else:
        store_other()
    with pytest.raises(UsageError, match="is the folder of another sweep, whose trials this one would leave"):
        run_sweep(plan_of(training__seed="0"), folder, executor=here)
    assert here.trials == []
    assert [file.read_bytes() for file in folder.iterdir()] == [others]


def test_a_sweep_whose_trials_all_ended_without_a_run_may_be_replaced(tmp_path):
    folder, here = tmp_path / "s", Here()
    run_sweep(plan_of({"data.name": "nowhere.npz"}, training__seed="0"), folder, executor=Here())
    assert statuses(run_sweep(plan_of({"steps": 1}, training__seed="1"), folder, executor=here)) == [
        "finished"
    ]


def test_a_stopped_sweep_can_be_resumed(tmp_path, often):
    """Both trials are running when the sweep is stopped; no step is lost or repeated."""
    plan = plan_of({"training.epochs": 100, "training.eval_every": 50}, training__seed="0..1")
    stop = threading.Event()

    def observe(board):
        if all(state.beat.step > 3 for state in board.values()):
            stop.set()

    with ThreadPoolExecutor(2) as executor:
        board = run_sweep(
            plan, tmp_path / "s", executor=executor, workers=2, observe=observe, should_stop=stop.is_set
        )
    assert statuses(board) == ["interrupted"] * 2
    steps = {name: open_run(tmp_path / "s" / name).steps["step"][-1] for name in board}
    assert all(3 < step < 400 for step in steps.values())
    with ThreadPoolExecutor(2) as executor:
        board = run_sweep(plan, tmp_path / "s", executor=executor, workers=2)
    assert statuses(board) == ["finished"] * 2
    for name in board:
        run = open_run(tmp_path / "s" / name)
        np.testing.assert_array_equal(run.steps["step"], np.arange(1, 401))
        assert len(run.attributes["history"].splitlines()) == 2


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        ({"optimizer": "sgd", "lr": 1e30}, "diverged", "try a smaller lr"),
        ({"data.name": "nowhere.npz"}, "failed", "there is no such file"),
    ],
)
def test_failing_trials(tmp_path, settings, status, message):
    """A diverged trial has ended; a failed trial is repeated when the sweep is started again."""
    plan, here = plan_of(settings, training__seed="0..1"), Here()
    for count in (2, 2 if status == "diverged" else 4):
        board = run_sweep(plan, tmp_path / "s", executor=here)
        assert statuses(board) == [status] * 2
        assert all(message in state.message for state in board.values())
        assert len(here.trials) == count


def test_an_unexpected_exception_is_reported_and_its_traceback_stored(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("revgn.sweeps.work.start_run", broken)
    (state,) = run_sweep(plan_of(training__seed="0"), tmp_path / "s", executor=Here()).values()
    assert state.status == "failed"
    assert "ZeroDivisionError: by zero" in state.message
    assert "in broken" in next((tmp_path / "s" / ".claims").rglob("traceback.txt")).read_text()


def test_hopeless_trials_end_early(tmp_path):
    plan = plan_of({"training.epochs": 5000}, training__seed="0..1")
    first = plan_trials(plan)[0].name

    def hopeless(board):
        begun = all(state.beat.step > 3 for state in board.values())
        return dict.fromkeys(board, "is behind") if begun else {}

    with ThreadPoolExecutor(2) as executor:
        board = run_sweep(plan, tmp_path / "s", executor=executor, workers=2, hopeless=hopeless)
    assert statuses(board) == ["stopped"] * 2
    run = open_run(tmp_path / "s" / first)
    assert (run.status, run.attributes["message"]) == ("stopped", "is behind")
    here = Here()
    assert statuses(run_sweep(plan, tmp_path / "s", executor=here)) == ["stopped"] * 2
    assert here.trials == []


def test_the_source_is_called_only_after_a_change(tmp_path, often):
    """It is not called while trials merely continue, since proposing trials may be slow."""
    plan = plan_of({"training.epochs": 50, "training.eval_every": 50}, training__seed="0..1")
    source, asked, looked = Listed(plan_trials(plan)), [], []

    class Counted:
        def more(self, board, free):
            asked.append((len(board), free))
            return source.more(board, free)

    with ThreadPoolExecutor(1) as executor:
        board = run_sweep(
            plan,
            tmp_path / "s",
            source=Counted(),
            executor=executor,
            observe=looked.append,
        )
    assert statuses(board) == ["finished"] * 2
    assert len(looked) > len(asked)
    assert asked == [(0, 1), (2, -1), (2, 0), (2, 1)]  # numbers of trials and of idle workers


def test_invalid_arguments_are_rejected_before_any_trial_runs(tmp_path):
    with pytest.raises(UsageError, match=r"trial lr=-1: optimizer\.lr"):
        run_sweep(plan_of(optimizer__lr="0.1,-1"), tmp_path / "s", executor=Here())
    with pytest.raises(UsageError, match="workers: 0"):
        run_sweep(plan_of(), tmp_path / "s", workers=0)
    assert not (tmp_path / "s").exists()


def test_workers_divide_threads_and_gpus(monkeypatch):
    monkeypatch.delenv(THREADS[0], raising=False)
    monkeypatch.setattr("revgn.sweeps.pool._processors", lambda: 8)
    before = dict(os.environ)
    with LocalPool(2, gpus=["5", "7"]) as pool:
        calls = [pool.submit(surroundings) for _ in range(2)]
        (a, *first), (b, *second) = (call.result() for call in calls)
        assert a != b
        assert (first, second) == (["4", "5"], ["4", "7"])
        assert dict(os.environ) == before
        killed = pool.submit(os.kill, a, signal.SIGKILL)
        assert killed.exception(timeout=30) is not None
        again = {pool.submit(surroundings).result()[0] for _ in range(4)}
        assert a not in again


def test_the_first_process_starts_with_signals_blocked():
    """Python's resource tracker, which the first process needs, unblocks signals when it starts."""
    script = """
import multiprocessing, signal
from revgn.sweeps.pool import blocked_signals
with blocked_signals():
    multiprocessing.get_context("spawn").Semaphore()
    print(*sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
"""
    blocked = run([sys.executable, "-c", script]).stdout.split()
    assert {*map(str, map(int, STOPPING))} <= {*blocked}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_trial_of_a_killed_worker_is_resumed(number, tmp_path, often, monkeypatch):
    """It resumes from its checkpoint; the trial of the other worker is not affected.

    After SIGTERM the worker writes a checkpoint before it ends, so no step is repeated, and the end of the
    worker does not count among those that make a trial fail.
    """
    if number == signal.SIGTERM:
        monkeypatch.setattr("revgn.sweeps.drive._MOST_DEATHS", 1)
    settings = {"training.epochs": 100, "training.eval_every": 400}
    plan = plan_of(settings, training__seed="0..1")
    killed = []
    observe = killer(tmp_path / "s", killed, number)
    board = run_sweep(plan, tmp_path / "s", workers=2, observe=observe)
    assert statuses(board) == ["finished"] * 2
    assert len(killed) == 1
    for name in board:
        run = open_run(tmp_path / "s" / name)
        np.testing.assert_array_equal(run.steps["step"], np.arange(1, 401))
        assert len(run.attributes["history"].splitlines()) == 1 + (name in killed)
        assert newest_claim(tmp_path / "s", name).folder.name == ("0002" if name in killed else "0001")
        assert number == signal.SIGKILL or recorded_steps(run.folder) == 400


def test_calls_that_have_not_begun_are_withdrawn(tmp_path):
    """An executor that cannot cancel calls, or cancels running ones as dask does, changes nothing."""
    calls = []

    class Queued(Here):
        def submit(self, fn, /, *args, **kwargs):
            calls.append((fn, args))
            return Future()

    plan = plan_of(training__seed="0..1")
    board = run_sweep(plan, tmp_path / "s", executor=Queued(), workers=2, should_stop=lambda: len(calls) == 2)
    assert statuses(board) == ["interrupted"] * 2
    assert [fn(*args).status for fn, args in calls] == ["elsewhere"] * 2
    assert list_runs(tmp_path / "s") == []
    assert statuses(run_sweep(plan, tmp_path / "s", executor=Here())) == ["finished"] * 2


def test_trials_of_a_sweep_that_is_stopped_before_they_start_are_waiting(tmp_path):
    """For instance by Ctrl-C while the workers of a cluster start; trials that have ended stay so."""
    folder, here = tmp_path / "s", Here()
    for seeds, expected in (("0..1", ["waiting"] * 2), ("0..2", ["finished"] * 2 + ["waiting"])):
        plan = plan_of({"steps": 1}, training__seed=seeds)
        board = run_sweep(plan, folder, executor=here, workers=2, should_stop=lambda: True)
        assert statuses(board) == expected
        assert len(here.trials) == len(list_runs(folder)) == expected.count("finished")
        run_sweep(plan, folder, executor=here)


def test_a_stopped_search_proposes_no_trials(tmp_path):
    """They would be stored, although they could be better after the results of other trials."""
    pytest.importorskip("optuna")
    plan = replace(plan_of(optimizer__lr="log:1e-4..1e-2"), search=3)
    for _ in range(2):
        assert run_sweep(plan, tmp_path / "s", executor=Here(), should_stop=lambda: True) == {}


def test_a_trial_that_another_process_has_interrupted_is_interrupted(tmp_path):
    """Dask repeats the call of a worker that SIGTERM has ended, when the trial has written its checkpoint."""
    plan, calls = plan_of(), []

    class Repeating(Here):
        def submit(self, fn, /, folder, trial, after, command):
            calls.append(after)
            write_beat(take(folder, trial.name, after), Beat(step=3, steps=8, ended="interrupted"))
            return super().submit(fn, folder, trial, after, command)

    folder, stops = tmp_path / "s", lambda: bool(calls)
    (state,) = run_sweep(plan, folder, executor=Repeating(), should_stop=stops).values()
    assert (calls, state.status, state.beat.step) == ([0], "interrupted", 3)
    (state,) = run_sweep(plan, folder, executor=Here()).values()
    assert state.status == "finished"


@pytest.mark.slow
def test_24_trials_on_two_workers_that_are_killed_at_times(tmp_path):
    plan = plan_of({"training.epochs": 600}, optimizer__lr="log:1e-4..1e-2:4", training__seed="0..5")
    rng, killed = np.random.default_rng(0), []

    def observe(board):
        running = [name for name, state in board.items() if state.status == "running"]
        ready = [name for name in running if board[name].beat.step > 50 and name not in killed]
        if ready and len(killed) < 3 and rng.random() < 0.5:
            killed.append(ready[0])
            os.kill(newest_claim(tmp_path / "s", ready[0]).owner.process, signal.SIGKILL)

    board = run_sweep(plan, tmp_path / "s", workers=2, observe=observe)
    assert statuses(board) == ["finished"] * 24
    assert len(killed) == 3
    for name in board:
        run = open_run(tmp_path / "s" / name)
        np.testing.assert_array_equal(run.steps["step"], np.arange(1, 2401))
        assert len(run.attributes["history"].splitlines()) == 1 + killed.count(name)
        assert all(resumed > 0 for resumed in resumptions(tmp_path / "s" / name))
    rows = compare_runs(open_runs(tmp_path / "s")).rows
    assert [len(row.runs) for row in rows] == [6] * 4
    assert all(row.metrics["test_accuracy"].std > 0 for row in rows)


def resumptions(folder):
    """Return the steps from which a run was resumed after it was killed."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if line["kind"] == "resume"]


def test_a_trial_whose_worker_keeps_dying_counts_as_failed(tmp_path):
    def observe(board):
        for name, state in board.items():
            claim = newest_claim(tmp_path / "s", name)
            if state.status == "running" and claim is not None and claim.owner and not claim.beat.ended:
                with suppress(ProcessLookupError):  # already killed, and the next worker has not started
                    os.kill(claim.owner.process, signal.SIGKILL)

    plan = plan_of({"training.epochs": 5000}, training__seed="0")
    (state,) = run_sweep(plan, tmp_path / "s", workers=1, observe=observe).values()
    assert (state.status, state.message[:32]) == ("failed", "its worker process died 3 times,")


def test_a_worker_that_dies_before_its_attempt_begins_counts_as_dead(tmp_path):
    """An earlier attempt was interrupted, and a worker that dies as it starts writes no heartbeat."""
    plan, calls = plan_of(), []
    (trial,) = plan_trials(plan)
    write_beat(take(tmp_path / "s", trial.name, 0), Beat(ended="interrupted"))

    class Dying(Here):
        def submit(self, fn, /, *args, **kwargs):
            assert len(calls) < 3, "the trial is tried without end"
            calls.append(args)
            future = Future()
            future.set_exception(BrokenExecutor("the worker has ended"))
            return future

    (state,) = run_sweep(plan, tmp_path / "s", executor=Dying()).values()
    assert (state.status, state.message[:32]) == ("failed", "its worker process died 3 times,")


def test_an_exception_in_the_driver_kills_the_workers(tmp_path):
    """A second Ctrl-C raises such an exception."""

    def observe(board):
        if any(state.beat.step > 3 for state in board.values()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan_of({"training.epochs": 50_000}), tmp_path / "s", observe=observe)
    (run,) = list_runs(tmp_path / "s")
    assert not is_held(newest_claim(tmp_path / "s", run.name), Silence())
    assert open_run(run).steps["step"].size < 200_000


def test_a_trial_that_another_driver_takes_meanwhile_is_not_started(tmp_path, monkeypatch):
    plan, taken, ended, here = plan_of(), [], [], Here()
    drive = sys.modules["revgn.sweeps.drive"]
    free = drive._free

    def taken_meanwhile(board):
        if free(board) and not taken:
            taken.append(take(tmp_path / "s", free(board)[0], 0))
        return free(board)

    def observe(board):
        if not here.trials and not ended:
            ended.append(taken[0])
            write_beat(taken[0], Beat(ended="interrupted"))

    monkeypatch.setattr(drive, "_free", taken_meanwhile)
    board = run_sweep(plan, tmp_path / "s", executor=here, observe=observe)
    assert statuses(board) == ["finished"]
    assert ended == taken  # it was started only after the other attempt had ended
    assert len(here.trials) == 1


@pytest.mark.parametrize("held", ["before", "meanwhile"])
def test_a_trial_whose_run_another_process_continues_waits_for_its_end(tmp_path, often, provenance, held):
    """For instance `revgn resume` by hand, before the trial is submitted or as its attempt begins."""
    (trial,), folder, here = plan_trials(plan_of()), tmp_path / "s", Here()
    run = folder / trial.name
    start_run(dict(trial.settings), run, should_stop=lambda: True)
    origin = replace(provenance, config=open_run(run).config)
    writers = [reopen_run(run, origin, step=0)] if held == "before" else []
    looked = []

    class Late(Executor):
        def submit(self, *call):
            if not writers:
                writers.append(reopen_run(run, origin, step=0))
            return here.submit(*call)

    def observe(board):
        looked.append(board[trial.name])
        if len(looked) == 5:
            writers[0].close("interrupted")

    (state,) = run_sweep(plan_of(), folder, executor=Late(), observe=observe).values()
    assert state.status == "finished"
    assert [each.status for each in looked[2:5]] == ["elsewhere"] * 3
    assert looked[4].message == str(this_process())
    assert len(here.trials) == attempt(newest_claim(folder, trial.name)) == (1 if held == "before" else 2)


def test_two_drivers_share_the_trials(tmp_path):
    plan = plan_of(training__seed="0..5")
    boards, pools = [], [Here(), Here()]

    def run(pool):
        boards.append(run_sweep(plan, tmp_path / "s", executor=pool))

    threads = [threading.Thread(target=run, args=(pool,), daemon=True) for pool in pools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [statuses(board) for board in boards] == [["finished"] * 6] * 2
    for path in list_runs(tmp_path / "s"):
        assert len(open_run(path).attributes["history"].splitlines()) == 1
