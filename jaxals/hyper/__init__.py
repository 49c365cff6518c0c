"""Hyperparameters: gradients by them, and sweeps of many models over them."""

from jaxals.hyper.gradients import FoldIn as FoldIn
from jaxals.hyper.gradients import Hypergradient as Hypergradient
from jaxals.hyper.gradients import Implicit as Implicit
from jaxals.hyper.gradients import Truncated as Truncated
from jaxals.hyper.gradients import hypergradient as hypergradient
from jaxals.hyper.sweeps import Sweep as Sweep
from jaxals.hyper.sweeps import sweep as sweep
from jaxals.hyper.tuning import TuningResult as TuningResult
from jaxals.hyper.tuning import tune as tune
from jaxals.hyper.validation import HeldOut as HeldOut
from jaxals.hyper.validation import hold_out as hold_out
from jaxals.hyper.validation import smooth_ndcg as smooth_ndcg
from jaxals.hyper.validation import softmax_cross_entropy as softmax_cross_entropy
from jaxals.hyper.validation import squared_error as squared_error
from jaxals.hyper.values import number_entries as number_entries
from jaxals.hyper.values import with_values as with_values
