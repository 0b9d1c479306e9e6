"""Many runs: a plan, its jobs, and those who work at them.

axes    a setting and the values it takes
plan    what a sweep runs
claim   who works at a job
work    one job, from its claim to its end
pool    worker processes on this machine
drive   give jobs to an executor until nothing is left to do
launch  run a sweep
"""

from revgn.sweeps.axes import Axis, parse_axis
from revgn.sweeps.claim import Beat
from revgn.sweeps.drive import Board, JobState, Source, drive
from revgn.sweeps.launch import Listed, load_plan, run_sweep
from revgn.sweeps.plan import Job, Plan, full_path, make_job, parse_plan, plan_jobs, plan_toml
from revgn.sweeps.pool import LocalPool
from revgn.sweeps.work import Result, Status, run_job

__all__ = [
    "Axis",
    "Beat",
    "Board",
    "Job",
    "JobState",
    "Listed",
    "LocalPool",
    "Plan",
    "Result",
    "Source",
    "Status",
    "drive",
    "full_path",
    "load_plan",
    "make_job",
    "parse_axis",
    "parse_plan",
    "plan_jobs",
    "plan_toml",
    "run_job",
    "run_sweep",
]
