"""Hyperparameters: searches, gradients by them, and many models in one program."""

from jaxals.hyper.descent import DescentResult as DescentResult
from jaxals.hyper.descent import tune_by_gradient as tune_by_gradient
from jaxals.hyper.gradients import FoldIn as FoldIn
from jaxals.hyper.gradients import Hypergradient as Hypergradient
from jaxals.hyper.gradients import Implicit as Implicit
from jaxals.hyper.gradients import Truncated as Truncated
from jaxals.hyper.gradients import hypergradient as hypergradient
from jaxals.hyper.many import Runs as Runs
from jaxals.hyper.many import fit_many as fit_many
from jaxals.hyper.pruning import MedianPruning as MedianPruning
from jaxals.hyper.search import SearchResult as SearchResult
from jaxals.hyper.search import tune as tune
from jaxals.hyper.space import Choice as Choice
from jaxals.hyper.space import LogUniform as LogUniform
from jaxals.hyper.space import SearchSpace as SearchSpace
from jaxals.hyper.space import Uniform as Uniform
from jaxals.hyper.validation import HeldOut as HeldOut
from jaxals.hyper.validation import hold_out as hold_out
from jaxals.hyper.validation import smooth_ndcg as smooth_ndcg
from jaxals.hyper.validation import softmax_cross_entropy as softmax_cross_entropy
from jaxals.hyper.validation import squared_error as squared_error
from jaxals.hyper.values import number_entries as number_entries
from jaxals.hyper.values import with_values as with_values
