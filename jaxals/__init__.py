"""Alternating least squares for implicit feedback, in JAX: one weighted loss for research.

>>> import jaxals
>>> data = jaxals.datasets.synthetic(n_users=100, n_items=60, n_interactions=1000, seed=0)
>>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=15.0), jaxals.ALS(factors=8, sweeps=5), seed=0, progress=False)
>>> recommender = jaxals.Recommender(run.factors, data, run.objective).settled()
>>> len(recommender.recommend(3, n=5))
5
"""

from jaxals import datasets as datasets
from jaxals import errors as errors
from jaxals import evaluation as evaluation
from jaxals import hyper as hyper
from jaxals._pytree import pytree as pytree
from jaxals._pytree import static as static
from jaxals.als import half_step as half_step
from jaxals.als import initial_factors as initial_factors
from jaxals.als import sweep as sweep
from jaxals.catalog import Catalog as Catalog
from jaxals.checkpoint import Checkpoint as Checkpoint
from jaxals.checkpoint import load_checkpoint as load_checkpoint
from jaxals.confidence import BinaryConfidence as BinaryConfidence
from jaxals.confidence import Confidence as Confidence
from jaxals.confidence import ImplicitConfidence as ImplicitConfidence
from jaxals.confidence import LinearConfidence as LinearConfidence
from jaxals.confidence import LogConfidence as LogConfidence
from jaxals.descent import Alternating as Alternating
from jaxals.descent import FullBatch as FullBatch
from jaxals.descent import SampledNegatives as SampledNegatives
from jaxals.descent import UserBatches as UserBatches
from jaxals.ensemble import Ensemble as Ensemble
from jaxals.gradient import Gradient as Gradient
from jaxals.interactions import COO as COO
from jaxals.interactions import Interactions as Interactions
from jaxals.item_models import EASE as EASE
from jaxals.item_models import ItemKNN as ItemKNN
from jaxals.objective import Factors as Factors
from jaxals.objective import Objective as Objective
from jaxals.objective import Sides as Sides
from jaxals.position import EarlyStopping as EarlyStopping
from jaxals.recommender import Recommender as Recommender
from jaxals.search import MedianPruning as MedianPruning
from jaxals.search import SearchResult as SearchResult
from jaxals.search import tune as tune
from jaxals.sharding import make_mesh as make_mesh
from jaxals.sharding import use_all_cores as use_all_cores
from jaxals.solvers import Cholesky as Cholesky
from jaxals.solvers import ConjugateGradient as ConjugateGradient
from jaxals.solvers import Subspace as Subspace
from jaxals.space import Choice as Choice
from jaxals.space import LogUniform as LogUniform
from jaxals.space import SearchSpace as SearchSpace
from jaxals.space import Uniform as Uniform
from jaxals.tiles import RowTiles as RowTiles
from jaxals.tiles import build_tiles as build_tiles
from jaxals.trainers import ALS as ALS
from jaxals.training import Progress as Progress
from jaxals.training import Run as Run
from jaxals.training import fit as fit

__version__ = "0.1.0"
