"""One right value for each parameter of what is public, by its name, or by the callable and its name.

Values that are functions of the module are called for a value each time: what is written to, or ends, is made anew.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd

import jaxals
from jaxals.evaluation import Popularity, Random, evaluate, leave_k_out, plan_evaluation, sample_negatives
from jaxals.hyper import FoldIn, fit_many, hold_out, number_entries, squared_error


@dataclasses.dataclass(frozen=True)
class Fresh:
    """A value that is made anew for each call."""

    make: Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class World:
    """Right values by parameter, and an instance of each class whose methods are called."""

    folder: pathlib.Path
    values: dict[str, Any]
    instances: dict[str, Any]

    def value(self, callable_name: str, parameter: str) -> Any:
        """Return a right value; raises `KeyError` where the table has none."""
        own = f"{callable_name}.{parameter}"
        found = self.values[own if own in self.values else parameter]
        return found.make() if isinstance(found, Fresh) else found

    def knows(self, callable_name: str, parameter: str) -> bool:
        """Tell whether the table has a value."""
        return parameter in self.values or f"{callable_name}.{parameter}" in self.values


def make_world(folder: pathlib.Path) -> World:
    """Train one model of 12 users and 8 items, and put everything about it into a table."""
    data = jaxals.datasets.synthetic(n_users=12, n_items=8, n_interactions=48, n_groups=2, seed=0)
    split = leave_k_out(data, 1, seed=0)
    negatives = sample_negatives(data, split.test, n=1)
    objective, trainer = jaxals.Objective.hkv(1.0, 1.0), jaxals.ALS(factors=2, sweeps=1)
    run = jaxals.fit(
        data, objective, trainer, mesh=None, progress=False, checkpoint=jaxals.Checkpoint(folder / "steps")
    )
    recommender = jaxals.Recommender.from_run(run, data)
    plan = plan_evaluation(split.train, split.test, ["recall@2", "ndcg@2"])
    measured = evaluate(run.factors, split.train, split.test, ["recall@2", "ndcg@2"])
    space = jaxals.SearchSpace.preset("ials", trainer)
    many = fit_many(data, objective, trainer, mesh=None, progress=False)
    user_tiles, item_tiles = trainer.cut(data, None)
    held_out = hold_out(split.train, split.test)
    number = itertools.count()
    fresh = lambda ending: Fresh(lambda: folder / f"new-{next(number)}{ending}")
    frame = data.to_frame().assign(time=np.arange(len(data)))
    recommender.save(folder / "model")
    for name, save in (("npz", jaxals.exports.save_npz), ("parquet", jaxals.exports.save_parquet)):
        save(folder / name, run.factors, data.catalog)
    jaxals.exports.save_implicit(folder / "implicit", run.factors)
    frame.to_csv(folder / "table.csv", index=False)
    _write_published(folder)
    values = {
        # Data
        **dict.fromkeys(("interactions", "data", "other_interactions"), data),
        "train": split.train,
        "test": split.test,
        "given": 0.5,
        "negatives": negatives.negatives,
        "catalog": data.catalog,
        **{name: list(range(size)) for name, size in (("Catalog.users", 3), ("Catalog.items", 3))},
        "ids": [0, 1],
        "load.ids": "raw",
        "user": 3,
        "item": 2,
        "users": [0, 3],
        "items": [1, 2],
        "frame": frame,
        "matrix": data.to_scipy(),
        "side": "user",
        **{f"{name}.user": "user" for name in ("Interactions.from_frame", "Interactions.from_file")},
        **{f"{name}.item": "item" for name in ("Interactions.from_frame", "Interactions.from_file")},
        **{f"{name}.user": "user" for name in ("temporal_split", "strong_generalization")},
        **{f"{name}.item": "item" for name in ("temporal_split", "strong_generalization")},
        "Interactions.from_arrays.user": [0, 1, 1],
        "Interactions.from_arrays.item": [0, 0, 1],
        "Interactions.user": data.user,
        "Interactions.item": data.item,
        "Interactions.value": data.value,
        "Interactions.select.keep": data.value > 0,
        "Interactions.is_among.other": split.test,
        "COO.user": jnp.zeros(1, jnp.int32),
        "COO.item": jnp.zeros(1, jnp.int32),
        "COO.value": jnp.ones(1),
        "UserSplit.given": split.test,
        "fraction": 0.25,
        "k": 1,
        "n": 2,
        "n_users": 12,
        "n_items": 8,
        "n_interactions": 48,
        "held_out_users": 2,
        "strong_generalization.frame": pd.DataFrame(itertools.product(range(9), range(6)), columns=["user", "item"]),
        "sample_negatives.n": 1,
        # Files
        "path": Fresh(lambda: folder / "table.csv"),
        "load_npz.path": folder / "npz",
        "load_implicit.path": folder / "implicit",
        **{f"{name}.path": fresh(".npz") for name in ("save_npz", "save_implicit")},
        **{f"{name}.folder": fresh("") for name in ("save_parquet", "save_model", "Recommender.save", "find")},
        "table": run.factors.item,
        "load_parquet.folder": folder / "parquet",
        **{f"{name}.folder": folder / "model" for name in ("load_model", "Recommender.load")},
        "read_ncf.folder": folder / "ncf",
        "directory": folder / "steps",
        "Checkpoint.directory": fresh(""),
        "read_adjacency.train": folder / "adjacency.txt",
        "read_adjacency.test": folder / "adjacency.txt",
        "read_ml_20m.file": folder / "ratings.csv",
        "read_msd.file": folder / "triplets.tsv",
        "name": "lastfm-2k",
        **{f"{name}.path": folder / "lastfm" for name in ("load", "locate")},
        "Evaluation.to_text.name": "recall@2",
        "Evaluation.__getitem__.name": "recall@2",
        # What is minimised
        "objective": objective,
        "confidence": objective.confidence,
        "compare.confidence": 0.9,
        "alpha": 1.0,
        "Sides.user": 1.0,
        "Sides.item": 1.0,
        "value": jnp.ones(3),
        "score": jnp.ones(3),
        "Objective.ridge.count": jnp.arange(3),
        "n_columns": 8,
        "dtype": "float32",
        "user_count": jnp.ones(12, jnp.int32),
        "item_count": jnp.ones(8, jnp.int32),
        # How it is trained
        "factors": run.factors,
        **{f"{name}.factors": 2 for name in ("ALS", "Gradient", "build_tiles", "initial_factors", "number_entries")},
        **{f"{name}.gram_size.factors": 2 for name in ("Cholesky", "ConjugateGradient", "NonNegative", "Subspace")},
        "Factors.user": run.factors.user,
        "Factors.item": run.factors.item,
        "trainer": trainer,
        "mesh": None,
        "progress": False,
        "initial": None,
        "key": jax.random.key(0),
        "tiles": user_tiles,
        "hypergradient.tiles": (user_tiles, item_tiles),
        "tune_by_gradient.tiles": (user_tiles, item_tiles),
        "ALS.begin.tiles": None,
        "user_tiles": user_tiles,
        "item_tiles": item_tiles,
        "other": run.factors.item,
        "solver": jaxals.Cholesky(),
        "optimizer": optax.adam(0.1),
        "contributions.column": jnp.array([0, 1]),
        "contributions.value": jnp.ones(2, jnp.float32),
        "contributions.target": jnp.array(2),
        "solve_symmetric.matrix": jnp.eye(2)[None],
        "diagonal": jnp.ones((1, 2)),
        "target": jnp.ones((1, 2)),
        "cls": Fresh(lambda: type("Empty", (), {})),
        "static.default": 1,
        # What a model says
        "scorer": run.factors,
        "Recommender.from_run.run": run,
        "scores": jnp.arange(8.0),
        "models": [run.factors, run.factors],
        "Ensemble.user": run.factors.user[None],
        "Ensemble.item": run.factors.item[None],
        **{f"{name}.users": jnp.arange(2) for name in ("Ensemble.scores", "Ensemble.variance", "Factors.scores")},
        **{f"{name}.users": jnp.arange(2) for name in ("ItemModel.scores", "Popularity.scores", "Random.scores")},
        **{f"{name}.known_users.users": jnp.arange(2) for name in ("Ensemble", "Factors", "ItemModel", "Popularity")},
        "Recommender.top_items.items": None,
        "rows": [0, 1],
        "Popularity.counts": jnp.ones(8),
        "X": data.to_scipy(),
        "y": None,
        "ALSRecommender.factors": 2,
        "ALSRecommender.sweeps": 1,
        # Evaluations
        "metrics": ["recall@2", "ndcg@2"],
        **{f"{name}.metrics": () for name in ("fit", "fit_many")},
        "tune.metrics": "ndcg@2",
        "plan": plan,
        "evaluation": measured,
        "by_popularity.k": 2,
        "paper_table.models": {"ALS": run.factors},
        "seeds": [0],
        "reference": None,
        "settings": None,
        "level": 0.05,
        "p": [0.1, 0.2],
        "model": "ALS",
        **{f"PaperTable.{name}.metric": "ndcg@2" for name in ("best", "beats_all")},
        "first": measured,
        "second": measured,
        "resamples": 20,
        # Hyperparameters
        "space": space,
        "fit_many.space": ({},),
        "trials": 1,
        "Choice.options": (1, 2),
        "low": 0.5,
        "high": 2.0,
        "position": 0.5,
        "curve": [0.1, 0.2],
        "earlier": [[0.1, 0.2]],
        "ranges": {"alpha": jaxals.Uniform(0.0, 1.0)},
        "build": lambda settings, _: (objective, trainer),
        "generator": Fresh(lambda: np.random.default_rng(0)),
        "regularization": 0.1,
        "find_published.file": "ratings.csv",
        "SearchSpace.preset.factors": 2,
        **{f"{name}.method": FoldIn() for name in ("hypergradient", "tune_by_gradient")},
        "tune.refit": False,
        "validation_loss": jax.tree_util.Partial(_validation_loss, held_out),
        "parameters": {"ridge": jnp.array(1.0, jnp.float32)},
        **{f"{name}.objective": _build for name in ("hypergradient", "tune_by_gradient")},
        "tune_by_gradient.steps": 1,
        "tune_by_gradient.sweeps": 1,
        "held_out": held_out,
        "numbered": number_entries(data, "user", factors=2),
        "values": jnp.ones(len(data)),
        # Pictures
        "history": pd.DataFrame({"step": [1, 2], "seconds": [0.1, 0.2], "loss": [2.0, 1.0]}),
        "runs": {"ALS": pd.DataFrame({"step": [1, 2], "seconds": [0.1, 0.2], "loss": [2.0, 1.0]})},
        "plot_metrics.frame": pd.DataFrame(
            {"model": ["ALS"], "metric": ["ndcg@2"], "mean": [0.1], "standard_error": [0.01]}
        ),
        "plot_popularity.frame": pd.DataFrame({"lowest": [1], "highest": [9], "mean": [0.1], "standard_error": [0.01]}),
        "plot_map.frame": pd.DataFrame({"x": [0.0], "y": [0.0], "name": ["ABBA"], "size": [9]}),
        "plot_spectrum.frame": pd.DataFrame({"ALS": [3.0, 1.0]}),
    }
    # What is made by the library, and holds what it is given.
    for result in (measured, plan, run, many, split, negatives, held_out, user_tiles):
        values |= {f"{type(result).__name__}.{one}": getattr(result, one) for one in _fields(result)}
    table = jaxals.evaluation.paper_table({"ALS": run.factors}, plan, resamples=20)
    values |= {f"{name}.{one}": None for name, ones in HOLDERS.items() for one in ones}
    instances = {
        **{type(one).__name__: one for one in (objective, trainer, run, recommender, data, data.catalog, measured)},
        **{type(one).__name__: one for one in (table, many, space, run.factors, plan, objective.confidence)},
        **{
            type(one).__name__: one
            for one in (jaxals.Cholesky(), jaxals.ConjugateGradient(), jaxals.NonNegative(), jaxals.Subspace())
        },
        **{type(one).__name__: one for one in (jaxals.Gradient(factors=2, steps=1), jaxals.EASE(), jaxals.ItemKNN())},
        **{type(one).__name__: one for one in (Popularity.from_interactions(data), Random(jax.random.key(0), 8))},
        "BinaryConfidence": jaxals.BinaryConfidence(),
        "ImplicitConfidence": jaxals.ImplicitConfidence(),
        "LogConfidence": jaxals.LogConfidence(),
        "Choice": jaxals.Choice((1, 2)),
        "Uniform": jaxals.Uniform(0.0, 1.0),
        "LogUniform": jaxals.LogUniform(0.1, 1.0),
        "MedianPruning": jaxals.hyper.MedianPruning(startup_trials=1, warmup_steps=1),
        "Ensemble": jaxals.Ensemble.of([run.factors]),
        "ItemModel": jaxals.EASE().fit(data),
        "ALSRecommender": jaxals.sklearn.ALSRecommender(factors=2, sweeps=1).fit(data.to_scipy()),
    }
    return World(folder, values, instances)


# Their constructors take what jaxals has made, and look at nothing of it.
HOLDERS = {
    "Progress": ("step", "seconds", "loss", "metrics", "factors", "compile_seconds"),
    "Trained": ("factors", "info"),
    "Training": ("start", "step", "n_steps", "unit"),
    "StepInfo": ("non_finite_rows", "unconverged_rows"),
    "Hypergradient": ("value", "gradient", "factors", "adjoint_sweeps", "last_term", "residual"),
    "DescentResult": ("parameters", "factors", "objective", "trainer", "history", "best_step"),
    "SearchResult": ("table", "best", "settings", "objective", "trainer", "factors"),
    "DatasetInfo": (
        *("name", "title", "homepage", "url", "checksum", "size", "files", "folders", "licence", "citation", "items"),
    ),
    "NormalEquations": (
        *("table", "column", "vectors", "gram_weight", "target_weight", "segment", "ridge", "start"),
        "one_tile_per_row",
    ),
    "PaperTable": ("values", "tests", "n_users", "settings", "level"),
    "ItemModel": ("weights", "history", "is_binary"),
}


def _fields(result: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(result)]


def _build(parameters: Any) -> jaxals.Objective:
    return jaxals.Objective.hkv(1.0, jax.tree.leaves(parameters)[0])


def _validation_loss(held_out: Any, factors: jaxals.Factors, _: Any) -> jax.Array:
    return squared_error(factors, held_out)


def _write_published(folder: pathlib.Path) -> None:
    (folder / "adjacency.txt").write_text("0 1 2\n1 0\n")
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3.5,9\n")
    (folder / "triplets.tsv").write_text("a\tb\t3\n")
    (folder / "ncf").mkdir()
    (folder / "ncf" / "x.train.rating").write_text("0\t1\t3\n1\t0\t3\n")
    (folder / "ncf" / "x.test.rating").write_text("0\t2\t3\n")
    (folder / "ncf" / "x.test.negative").write_text("(0,2)\t3\t4\n")
    (folder / "lastfm").mkdir()
    (folder / "lastfm" / "user_artists.dat").write_text("userID\tartistID\tweight\n2\t51\t13883\n")
    (folder / "lastfm" / "artists.dat").write_text("id\tname\turl\tpictureURL\n51\tDuran Duran\tu\tp\n")
