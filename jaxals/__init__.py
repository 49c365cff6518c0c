"""Alternating least squares for implicit feedback, in JAX: one weighted loss for research.

>>> import jaxals
>>> data = jaxals.datasets.synthetic(n_users=100, n_items=60, n_interactions=1000, seed=0)
>>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=15.0), jaxals.ALS(factors=8, sweeps=5), seed=0, progress=False)
>>> recommender = jaxals.Recommender.from_run(run, data).settled()
>>> len(recommender.recommend(3, n=5))
5
"""

import importlib as _importlib
import typing as _typing

from jaxals import als as als
from jaxals import data as data
from jaxals import datasets as datasets
from jaxals import errors as errors
from jaxals import evaluation as evaluation
from jaxals import training as training
from jaxals._base.environment import show_versions as show_versions
from jaxals._base.pytree import pytree as pytree
from jaxals._base.pytree import static as static
from jaxals.als.half_steps import half_step as half_step
from jaxals.als.layout.tiles import build_tiles as build_tiles
from jaxals.als.parallel.mesh import make_mesh as make_mesh
from jaxals.als.parallel.mesh import use_all_cores as use_all_cores
from jaxals.als.solver.cholesky import Cholesky as Cholesky
from jaxals.als.solver.conjugate_gradient import ConjugateGradient as ConjugateGradient
from jaxals.als.solver.non_negative import NonNegative as NonNegative
from jaxals.als.solver.subspace import Subspace as Subspace
from jaxals.als.sweeps import initial_factors as initial_factors
from jaxals.als.sweeps import sweep as sweep
from jaxals.data.catalog import Catalog as Catalog
from jaxals.data.interactions import Interactions as Interactions
from jaxals.models import exports as exports
from jaxals.models import plots as plots
from jaxals.objective.confidence import BinaryConfidence as BinaryConfidence
from jaxals.objective.confidence import Confidence as Confidence
from jaxals.objective.confidence import ImplicitConfidence as ImplicitConfidence
from jaxals.objective.confidence import LinearConfidence as LinearConfidence
from jaxals.objective.confidence import LogConfidence as LogConfidence
from jaxals.objective.factors import Factors as Factors
from jaxals.objective.objective import Objective as Objective
from jaxals.objective.objective import Sides as Sides
from jaxals.recommend.ensemble import Ensemble as Ensemble
from jaxals.recommend.item_models import EASE as EASE
from jaxals.recommend.item_models import ItemKNN as ItemKNN
from jaxals.recommend.recommender import Recommender as Recommender
from jaxals.training.checkpoint import Checkpoint as Checkpoint
from jaxals.training.checkpoint import load_checkpoint as load_checkpoint
from jaxals.training.loop import fit as fit
from jaxals.training.run import Run as Run
from jaxals.training.state import EarlyStopping as EarlyStopping
from jaxals.training.trainers import ALS as ALS

if _typing.TYPE_CHECKING:
    from jaxals import hyper as hyper
    from jaxals import implicit_api as implicit_api
    from jaxals import sklearn as sklearn
    from jaxals.gradient.descent import Alternating as Alternating
    from jaxals.gradient.descent import FullBatch as FullBatch
    from jaxals.gradient.descent import SampledNegatives as SampledNegatives
    from jaxals.gradient.descent import UserBatches as UserBatches
    from jaxals.gradient.trainer import Gradient as Gradient
    from jaxals.hyper.search import tune as tune
    from jaxals.hyper.space import Choice as Choice
    from jaxals.hyper.space import LogUniform as LogUniform
    from jaxals.hyper.space import SearchSpace as SearchSpace
    from jaxals.hyper.space import Uniform as Uniform

__version__ = "0.1.0"

# What a person sees after `jaxals.<tab>`; the folders are there, too, for those who know what they look for.
__all__ = [  # noqa: RUF022 (by what they are for, not by the alphabet)
    # Rooms of their own
    "datasets",
    "errors",
    "evaluation",
    "exports",
    "hyper",
    "implicit_api",
    "plots",
    # What was seen
    "Catalog",
    "Interactions",
    # What is minimised
    "BinaryConfidence",
    "Confidence",
    "ImplicitConfidence",
    "LinearConfidence",
    "LogConfidence",
    "Factors",
    "Objective",
    "Sides",
    # How it is trained
    "ALS",
    "Gradient",
    "Alternating",
    "FullBatch",
    "SampledNegatives",
    "UserBatches",
    "Cholesky",
    "ConjugateGradient",
    "NonNegative",
    "Subspace",
    "fit",
    "Run",
    "EarlyStopping",
    "Checkpoint",
    "load_checkpoint",
    "make_mesh",
    "use_all_cores",
    # Step by step
    "build_tiles",
    "half_step",
    "initial_factors",
    "sweep",
    "pytree",
    "static",
    # What a model says
    "Recommender",
    "Ensemble",
    "EASE",
    "ItemKNN",
    # What a bug report needs
    "show_versions",
    # Which hyperparameters
    "tune",
    "Choice",
    "LogUniform",
    "SearchSpace",
    "Uniform",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__", "__doc__"]


# What many programs never use, and takes a tenth of a second to import: rooms, and what they hand on.
_LATER = {
    "implicit_api": (),
    "sklearn": (),  # needs an extra
    "hyper": ("Choice", "LogUniform", "SearchSpace", "Uniform", "tune"),
    "gradient": ("Alternating", "FullBatch", "Gradient", "SampledNegatives", "UserBatches"),
}
_ROOM_OF = {name: room for room, names in _LATER.items() for name in names}


def __getattr__(name: str) -> _typing.Any:
    if name in _LATER:
        return _importlib.import_module(f"jaxals.{name}")
    if name in _ROOM_OF:
        return getattr(_importlib.import_module(f"jaxals.{_ROOM_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
