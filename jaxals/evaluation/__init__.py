"""Protocols, splits, ranking metrics, baselines, and the evaluation that joins them."""

from jaxals.data.split import NegativesSplit as NegativesSplit
from jaxals.data.split import Split as Split
from jaxals.data.split import UserSplit as UserSplit
from jaxals.evaluation.baselines import Popularity as Popularity
from jaxals.evaluation.baselines import Random as Random
from jaxals.evaluation.buckets import by_activity as by_activity
from jaxals.evaluation.buckets import by_popularity as by_popularity
from jaxals.evaluation.comparison import compare as compare
from jaxals.evaluation.frame_splits import strong_generalization as strong_generalization
from jaxals.evaluation.frame_splits import temporal_split as temporal_split
from jaxals.evaluation.paper import PaperTable as PaperTable
from jaxals.evaluation.paper import holm as holm
from jaxals.evaluation.paper import paper_table as paper_table
from jaxals.evaluation.plans import EvaluationPlan as EvaluationPlan
from jaxals.evaluation.plans import plan_evaluation as plan_evaluation
from jaxals.evaluation.plans import plan_negatives as plan_negatives
from jaxals.evaluation.ranking import Scorer as Scorer
from jaxals.evaluation.ranking import evaluate as evaluate
from jaxals.evaluation.ranking import evaluate_among_negatives as evaluate_among_negatives
from jaxals.evaluation.ranking import run_plan as run_plan
from jaxals.evaluation.recommending import recommend_with as recommend_with
from jaxals.evaluation.results import Evaluation as Evaluation
from jaxals.evaluation.splits import leave_k_out as leave_k_out
from jaxals.evaluation.splits import random_holdout as random_holdout
from jaxals.evaluation.splits import sample_negatives as sample_negatives
from jaxals.evaluation.splits import user_holdout as user_holdout
