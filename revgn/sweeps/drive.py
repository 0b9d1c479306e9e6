"""Driver of a sweep: submits trials to an executor until all have ended.

The state of a trial is stored only in the folder of the sweep, in its claims and its run. Any number of
drivers on any machines that share the folder can therefore work on the same sweep. A driver that is started
again completes the trials that are missing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, get_args

from revgn.errors import RunError
from revgn.store import Run, is_run, open_run
from revgn.store.journal import is_locked
from revgn.store.names import JOURNAL_FILE, WRITER_FILE
from revgn.store.owner import read_owner
from revgn.sweeps.claim import Beat, Silence, ask_to_stop, attempt, is_held, newest_claim, take, write_beat
from revgn.sweeps.extend import changes_on_resume
from revgn.sweeps.plan import Trial
from revgn.sweeps.work import OVER, Result, Status, beat_of, run_trial

_LOOK_SECONDS = 0.5
_MOST_DEATHS = 3


class TrialState(NamedTuple):
    """A trial and its status.

    The status "running" means that a worker of this driver runs the trial, "elsewhere" that another process
    does: a worker of another driver, or one that has resumed the run by hand.
    """

    trial: Trial
    status: Status
    beat: Beat = Beat()
    message: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the trial has ended."""
        return self.status in (*OVER, "failed")


Board = Mapping[str, TrialState]
Observer = Callable[[Board], None]
Hopeless = Callable[[Board], Mapping[str, str]]  # reasons to end trials early, by the name of the trial


class Source(Protocol):
    """Source of the trials of a sweep, called at the start and whenever a trial is added, starts or ends."""

    def more(self, board: Board, free: int) -> Iterable[Trial]:
        """Return trials that are not on the board yet; `free` is the number of idle workers."""


class _Call(NamedTuple):
    """Call of `run_trial` that was given to the executor: the trial, and the number of its last attempt."""

    trial: str
    after: int


def drive(
    folder: Path,
    source: Source,
    executor: Executor,
    workers: int,
    *,
    command: str = "",
    hopeless: Hopeless | None = None,
    observe: Observer = lambda board: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Board:
    """Run the trials of a sweep, at most `workers` at the same time, and return the final state of each.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Calls `run_trial` in a process that has access to the folder.
    hopeless : callable
        Returns the running trials that should end early, with reasons; called repeatedly.
    observe : callable
        Called about twice a second with the states of all trials.
    should_stop : callable
        Once it returns True, running trials write a checkpoint and stop, and no further ones are started.

    Notes
    -----
    Law: a trial that has ended is never run again; an interrupted one resumes from its newest checkpoint.
    A trial whose worker dies three times counts as failed.
    """
    silence, deaths = Silence(), Counter[str]()
    board: dict[str, TrialState] = {}
    given: dict[Future[Result], _Call] = {}
    answered: tuple[int, ...] | None = None  # `standing` at the last call of the source
    while True:
        stopping, new = should_stop(), []
        free = workers - len(given) - len(_free(board))
        standing = (free, len(board), sum(state.is_over for state in board.values()))
        if answered is None or not (stopping or standing == answered):  # once in any case, for the board
            answered, new = standing, list(source.more(board, 0 if stopping else free))
        board |= {trial.name: _found(folder, trial, silence) for trial in new}
        for name, state in board.items():
            if not state.is_over:
                is_given = any(call.trial == name for call in given.values())
                board[name] = _looked_at(folder, state, silence, is_given)
        if not stopping:
            for name in _free(board)[: max(0, workers - len(given))]:
                claim = newest_claim(folder, name)
                if is_held(claim, silence):  # another driver has taken it meanwhile
                    continue
                after = attempt(claim)
                future = executor.submit(run_trial, folder, board[name].trial, after, command)
                given[future] = _Call(name, after)
                board[name] = board[name]._replace(status="running")
        observe(board)
        if not given and (stopping or not (new or any(not state.is_over for state in board.values()))):
            return board
        reasons = hopeless(board) if hopeless and not stopping else {}
        for name in reasons.keys() & {call.trial for call in given.values()}:
            _ask_to_stop(folder, name, reasons[name])
        for future in _done(given, board):
            name, after = given.pop(future)
            board[name] = _ended(_looked_at(folder, board[name], silence, True), future)
            if board[name].status in OVER:
                with suppress(RunError):
                    board[name] = _noted(board[name], open_run(folder / name))
            if _has_died(future) and not _was_asked_to_stop(folder, name, after):
                deaths[name] += 1
            if deaths[name] >= _MOST_DEATHS:
                message = f"its worker process died {_MOST_DEATHS} times, possibly out of memory"
                board[name] = board[name]._replace(status="failed", message=message)
        for future, (name, after) in [*given.items()] if stopping else []:
            if (stopped := _stopped(folder, board[name], after, silence)) is not None:
                future.cancel()
                del given[future]
                board[name] = stopped


def _found(folder: Path, trial: Trial, silence: Silence) -> TrialState:
    """Return the state of a trial that no process runs, when it is added to the board or ends elsewhere."""
    claim = newest_claim(folder, trial.name)
    if is_run(folder / trial.name) and not is_held(claim, silence):
        try:
            run = open_run(folder / trial.name)
        except RunError as error:
            return TrialState(trial, "failed", Beat(), str(error))
        message = run.attributes["message"]
        if run.status in OVER:
            return _noted(TrialState(trial, run.status, beat_of(run), message), run)
        if run.status == "failed" and claim is not None and claim.beat.ended == "diverged":  # by version 0.1
            return TrialState(trial, "diverged", beat_of(run), message)
    if claim is not None and claim.beat.ended in ("", "interrupted"):  # asked to stop, or its process died
        return TrialState(trial, "interrupted", claim.beat)
    return TrialState(trial, "waiting")


def _noted(state: TrialState, run: Run) -> TrialState:
    """Return the state of a trial with a message if its run was resumed with other settings by hand."""
    changes = changes_on_resume(state.trial, run)
    note = f"its run was continued with other settings: {', '.join(changes)}" if changes else ""
    return state._replace(message="; ".join(filter(None, (state.message, note))))


def _looked_at(folder: Path, state: TrialState, silence: Silence, is_given: bool) -> TrialState:
    claim = newest_claim(folder, state.trial.name)
    if is_given:
        return state if claim is None else state._replace(beat=claim.beat)
    if is_held(claim, silence):
        assert claim is not None
        return state._replace(status="elsewhere", beat=claim.beat, message=str(claim.owner or ""))
    run = folder / state.trial.name
    with suppress(RunError):  # its attempt will report the error
        # Continued by a process without a claim, such as `revgn resume`; the lock is the cheaper test.
        if is_locked(run / JOURNAL_FILE) and open_run(run).status == "running":
            return state._replace(status="elsewhere", message=str(read_owner(run / WRITER_FILE) or ""))
    if state.status == "elsewhere":  # the other process has ended it, or has died
        return _found(folder, state.trial, silence)
    return state


def _ask_to_stop(folder: Path, name: str, reason: str) -> None:
    claim = newest_claim(folder, name)
    if claim is not None and not claim.beat.ended:
        ask_to_stop(claim.folder, reason)


def _stopped(folder: Path, state: TrialState, after: int, silence: Silence) -> TrialState | None:
    """Request a stop of a trial that was given to the executor; return its state, or None until it stops.

    A call that has not begun is withdrawn by making its attempt here; the call then returns without training.
    `Future.cancel` is not used, because dask also cancels calls that are running.
    """
    claim = newest_claim(folder, state.trial.name)
    if claim is None or attempt(claim) == after:
        own = take(folder, state.trial.name, after)
        if own is not None:
            write_beat(own, Beat(ended="interrupted"))
        return None if own is None else state._replace(status="interrupted")
    if is_held(claim, silence):
        ask_to_stop(claim.folder, "")
        return None
    ended: Status = next((each for each in get_args(Status) if each == claim.beat.ended), "interrupted")
    return state._replace(status=ended, beat=claim.beat, message=claim.beat.message)


def _free(board: Board) -> list[str]:
    return [name for name, state in board.items() if state.status in ("waiting", "interrupted")]


def _done(given: Mapping[Future[Result], _Call], board: Board) -> set[Future[Result]]:
    """Return the calls that have ended, after a short wait for one to end, here or elsewhere."""
    if not given:
        if any(state.status == "elsewhere" for state in board.values()):
            time.sleep(_LOOK_SECONDS)
        return set()
    return wait(given, _LOOK_SECONDS, FIRST_COMPLETED).done


def _was_asked_to_stop(folder: Path, name: str, after: int) -> bool:
    """Return whether the attempt after number `after` has begun, and has stopped with a checkpoint."""
    claim = newest_claim(folder, name)
    return claim is not None and attempt(claim) > after and claim.beat.ended == "interrupted"


def _has_died(future: Future[Result]) -> bool:
    """Return whether the process of a call has ended without a result."""
    return not future.cancelled() and isinstance(future.exception(), BrokenExecutor)


def _ended(state: TrialState, future: Future[Result]) -> TrialState:
    """Return the state of a trial after an attempt."""
    error = None if future.cancelled() else future.exception()
    if error is None and not future.cancelled():
        result = future.result()
        return state._replace(status=result.status, message=result.message)
    if isinstance(error, BrokenExecutor) or error is None:  # a signal ends the worker after its attempt
        return state._replace(status="interrupted")
    return state._replace(status="failed", message=f"{type(error).__name__}: {error}")
