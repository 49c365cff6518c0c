"""The one weighted loss: what an entry weighs, what is minimised, and the tables it is minimised over."""

from jaxals.objective.confidence import BinaryConfidence as BinaryConfidence
from jaxals.objective.confidence import Confidence as Confidence
from jaxals.objective.confidence import ImplicitConfidence as ImplicitConfidence
from jaxals.objective.confidence import LinearConfidence as LinearConfidence
from jaxals.objective.confidence import LogConfidence as LogConfidence
from jaxals.objective.default import default_objective as default_objective
from jaxals.objective.factors import Factors as Factors
from jaxals.objective.objective import Objective as Objective
from jaxals.objective.objective import Sides as Sides
