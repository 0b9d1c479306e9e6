"""Studies: a question, the sweep that answers it, and verdicts on claims."""

from revgn.studies.conduct import chosen_runs, conduct_study
from revgn.studies.page import study_markdown
from revgn.studies.study import Claim, Study, Verdict, judge, load_study, plan_of, study_names

__all__ = [
    "Claim",
    "Study",
    "Verdict",
    "chosen_runs",
    "conduct_study",
    "judge",
    "load_study",
    "plan_of",
    "study_markdown",
    "study_names",
]
