"""Studies: each states a question, runs a sweep that answers it, and gives verdicts on claims."""

from revgn.studies.conduct import check_study_folder, conduct_study, fit_to_data, source_of
from revgn.studies.race import Race, Raced
from revgn.studies.study import Claim, Study, judge, load_study, plan_of, study_names

__all__ = [
    "Claim",
    "Race",
    "Raced",
    "Study",
    "check_study_folder",
    "conduct_study",
    "fit_to_data",
    "judge",
    "load_study",
    "plan_of",
    "source_of",
    "study_names",
]
