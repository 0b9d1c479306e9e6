"""A sweep on a real dask cluster with two worker processes, one of which is killed while it trains."""

import os
import signal

import numpy as np
import pytest
from sweep_cases import killer, plan_of, recorded_steps, statuses, surroundings

from revgn.errors import RunError
from revgn.store import open_run
from revgn.sweeps import run_sweep
from revgn.sweeps.claim import newest_claim
from revgn.sweeps.dask import dask_executor
from revgn.sweeps.pool import THREADS

pytest.importorskip("distributed")


# Dask closes its sockets and event loops late, which causes these warnings.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_trials_of_killed_workers_are_resumed(tmp_path, often):
    """After SIGTERM no step is repeated, since the worker writes a checkpoint before it ends."""
    plan = plan_of({"training.epochs": 100, "training.eval_every": 50}, training__seed="0..2")
    killed, ended = [], []

    def observe(board):
        killer(tmp_path / "s", killed)({name: state for name, state in board.items() if name not in ended})
        killer(tmp_path / "s", ended, signal.SIGTERM)(
            {name: state for name, state in board.items() if killed and name not in killed}
        )

    with dask_executor("local", 2) as (executor, workers):
        assert workers == 2
        board = run_sweep(plan, tmp_path / "s", executor=executor, workers=workers, observe=observe)
    assert statuses(board) == ["finished"] * 3
    assert (len(killed), len(ended)) == (1, 1)
    assert recorded_steps(tmp_path / "s" / ended[0]) == 400
    owners = set()
    for name in board:
        run = open_run(tmp_path / "s" / name)
        np.testing.assert_array_equal(run.steps["step"], np.arange(1, 401))
        assert len(run.attributes["history"].splitlines()) == 1 + (name in killed + ended)
        owners.add(newest_claim(tmp_path / "s", name).owner.process)
    assert os.getpid() not in owners
    assert len(owners) >= 2


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_workers_divide_threads_and_gpus(monkeypatch):
    monkeypatch.delenv(THREADS[0], raising=False)
    monkeypatch.setattr("revgn.sweeps.pool._processors", lambda: 8)
    monkeypatch.setattr("revgn.sweeps.dask.visible_gpus", lambda: ["5", "7"])
    with dask_executor("local", 2) as (executor, _):
        found = {tuple(call.result()[1:]) for call in [executor.submit(surroundings) for _ in range(8)]}
    assert found == {("4", "5"), ("4", "7")}


def test_a_missing_scheduler_raises_a_short_error(monkeypatch):
    monkeypatch.setattr("revgn.sweeps.dask._WAIT_SECONDS", 0.5)
    with pytest.raises(RunError, match=r"dask: no scheduler responds at tcp://127\.0\.0\.1:1"):
        dask_executor("tcp://127.0.0.1:1").__enter__()
