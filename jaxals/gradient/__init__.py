"""The same loss under an optimiser: what a step sees of the interactions, and the trainer."""

from jaxals.gradient.descent import Alternating as Alternating
from jaxals.gradient.descent import Batch as Batch
from jaxals.gradient.descent import FullBatch as FullBatch
from jaxals.gradient.descent import SampledNegatives as SampledNegatives
from jaxals.gradient.descent import UserBatches as UserBatches
from jaxals.gradient.trainer import Gradient as Gradient
