"""Many runs: a plan, its jobs, and those who work at them.

axes    a setting and the values it takes
plan    what a sweep runs
claim   who works at a job
work    one job, from its claim to its end
pool    worker processes on this machine
drive   give jobs to an executor until nothing is left to do
tune    one setting, from coarse to fine
search  jobs that optuna thinks of
median  end hopeless jobs early
dask    workers of a dask cluster
launch  run a sweep
"""

from revgn.sweeps.axes import Axis, parse_axis
from revgn.sweeps.claim import Beat
from revgn.sweeps.dask import dask_executor
from revgn.sweeps.drive import Board, JobState, Source, drive
from revgn.sweeps.launch import Listed, executor_at, load_plan, run_sweep, tuned
from revgn.sweeps.median import MedianRule
from revgn.sweeps.plan import Job, Plan, make_job, parse_plan, plan_jobs, plan_toml
from revgn.sweeps.pool import LocalPool
from revgn.sweeps.search import Searched
from revgn.sweeps.tune import Tuned
from revgn.sweeps.work import Result, Status, run_job

__all__ = [
    "Axis",
    "Beat",
    "Board",
    "Job",
    "JobState",
    "Listed",
    "LocalPool",
    "MedianRule",
    "Plan",
    "Result",
    "Searched",
    "Source",
    "Status",
    "Tuned",
    "dask_executor",
    "drive",
    "executor_at",
    "load_plan",
    "make_job",
    "parse_axis",
    "parse_plan",
    "plan_jobs",
    "plan_toml",
    "run_job",
    "run_sweep",
    "tuned",
]
