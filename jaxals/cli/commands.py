"""The commands: `fit`, `recommend`, `similar`, `evaluate`, `tune`, `datasets` and `demo`. Host side."""

import dataclasses
import warnings
from pathlib import Path
from typing import Annotated, Any

import jax
import pandas as pd
from cyclopts import App, Parameter

import jaxals
from jaxals import datasets
from jaxals._base.environment import require_devices
from jaxals.cli.options import (
    COLUMNS,
    DEFAULT_METRICS,
    PRESET,
    SOLVERS,
    TRAINER,
    Anyway,
    Bar,
    CheckpointPath,
    ColumnOptions,
    Count,
    Data,
    Every,
    Json,
    Keep,
    Metrics,
    MetricsIfAny,
    PresetOptions,
    Resume,
    Seed,
    SolverName,
    StoppingOptions,
    TrainerOptions,
    build_objective,
    describe,
    raw_ids,
    read,
    split_up,
)
from jaxals.cli.output import EXIT_CODES, complain, draws_bars, print_json, print_table, say
from jaxals.cli.tuning import tune
from jaxals.cli.values import read_value
from jaxals.errors import ConfigurationError
from jaxals.evaluation import Evaluation, Popularity, Random, Scorer, leave_k_out, plan_evaluation, run_plan
from jaxals.models.model import require_model_place, require_storable_ids
from jaxals.recommend.evidence import SHRINKAGE
from jaxals.recommend.recommender import Recommender, Scale, Similarity
from jaxals.training import loop as training
from jaxals.training.advice import below_popularity
from jaxals.training.checkpoint import Checkpoint
from jaxals.training.loop import Run

_EXPLANATIONS = 3
_WORDS = ("compile_seconds", "unconverged_rows")  # columns of the history as people write them

app = App(
    name="jaxals",
    help="Alternating least squares for implicit feedback: train, evaluate, recommend.",
    version=lambda: f"jaxals {jaxals.__version__}",
    help_epilogue="Try `jaxals demo`, then `jaxals fit --help`.",
    default_parameter=Parameter(negative_iterable=(), negative_none=(), consume_multiple=True, converter=read_value),
    suppress_keyboard_interrupt=False,
)


@app.command(
    help_epilogue="Example: `jaxals fit lastfm-2k --output model --objective log --factors 32`\n\n"
    "Example: `jaxals fit plays.tsv --user user --item artist --value plays --output model`\n\n"
    "Example: `jaxals fit lastfm-2k --output model --checkpoint runs/1 --resume`"
)
def fit(
    data: Data,
    /,
    *,
    output: Path,
    holdout: Count | None = None,
    metrics: MetricsIfAny = None,
    seed: Seed = 0,
    json: Json = False,
    progress: Bar = True,
    columns: ColumnOptions = COLUMNS,
    preset: PresetOptions = PRESET,
    trainer: TrainerOptions = TRAINER,
    solver: SolverName = "exact",
    early_stopping: StoppingOptions = None,
    checkpoint: CheckpointPath = None,
    every: Every = 5,
    keep: Keep = 2,
    resume: Resume = False,
    anyway: Anyway = False,
) -> int:
    """Train a model and save it.

    Args:
        data: Data.
        output: Folder for the model; a model that is there already is replaced.
        holdout: Hold out this many items of each user, train on the rest, and measure `--metrics` after each sweep.
    """
    if metrics and not holdout:
        raise ConfigurationError("`--metrics` are measured on what `--holdout` leaves out; name how many items.")
    if checkpoint is None and (resume or anyway):
        raise ConfigurationError("`--resume` goes on from checkpoints; name their folder with `--checkpoint`.")
    build_objective(preset)  # refuses what is wrong before anything is read
    trainer = dataclasses.replace(trainer, solver=SOLVERS[solver])
    if checkpoint and checkpoint.resolve().is_relative_to(output.resolve()):
        raise ConfigurationError(f"`--checkpoint` must lie outside of the model, {output}; name another folder.")
    require_model_place(output)
    if early_stopping is not None:
        early_stopping = dataclasses.replace(early_stopping, monitor=early_stopping.monitor.lower())
    if trainer.dtype == "float64":
        _allow_float64()
    interactions = read(data, columns)
    require_storable_ids(interactions.catalog)
    if not json:
        say(f"{data}: {interactions!r}")
    split = leave_k_out(interactions, holdout, seed) if holdout else None
    seen = split.train if split else interactions
    objective = build_objective(preset, seen)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Interrupted|Terminated")  # said below, with what became of the model
        run = training.fit(
            seen,
            objective,
            trainer,
            seed=seed,
            validation=split.test if split else None,
            metrics=(metrics or DEFAULT_METRICS) if split else (),
            early_stopping=early_stopping,
            progress=draws_bars(progress),
            checkpoint=Checkpoint(checkpoint, every, keep) if checkpoint else None,
            resume="anyway" if anyway else resume,
        )
    code = EXIT_CODES.get(run.stopped_early or "", 0)
    how = "; the same command with --resume goes on from there" if checkpoint else ""
    if code and run.history.empty:
        complain(f"{run.stopped_early} before the first sweep was finished{how}")
        return code
    model = Recommender.from_run(run, seen)
    # Not where time may be short: another solve may take, and compile, for long.
    (model if code else model.settled()).save(output)
    summary = {
        "objective": describe(preset, seen),
        **_summary(run),
        "held out": len(split.test) if split else None,
        "device": jax.devices()[0].device_kind,
        "model": str(output),
    }
    if json:
        shape = {"users": interactions.n_users, "items": interactions.n_items, "interactions": len(interactions)}
        print_json({"data": data, **shape, **summary, "history": run.history})
    else:
        print_table(pd.DataFrame(summary.items()).dropna(), header=False)
    if code:
        complain(f"{run.stopped_early}; the model after {len(run.history)} sweeps is in {output}{how}")
    return code


@app.command(help_epilogue="Example: `jaxals recommend model 2 57 --n 5 --explain`")
def recommend(
    model: Path,
    users: list[str],
    /,
    *,
    n: Count = 10,
    include_seen: Annotated[bool, Parameter(negative=())] = False,
    scale: Scale = "raw",
    explain: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> None:
    """Recommend items to users.

    Args:
        model: Folder that `jaxals fit` wrote.
        users: Ids of users.
        n: How many items each.
        include_seen: Also recommend what a user has already.
        scale: Scores as they are, or each user's stretched to 0..1.
        explain: Say which of the user's items speak most for each recommendation, and how much each adds to its score.
    """
    recommender = _load(model)
    asked = raw_ids(recommender.catalog.users, users)
    frame = recommender.recommend(asked, n, exclude_seen=not include_seen, scale=scale)
    if explain:
        pairs = zip(frame["user"], frame["item"], strict=True)
        reasons = [recommender.explain(*pair).head(_EXPLANATIONS) for pair in pairs]
        frame["because"] = pd.Series(reasons, dtype=object)
    if json:
        print_json({"recommendations": frame})
        return
    for user in asked:
        own = frame[frame["user"] == user].drop(columns="user")
        print_table(_ranked(own), f"For user {user}" if len(own) else f"For user {user}: nothing")


@app.command(help_epilogue="Example: `jaxals similar model Radiohead --n 5`")
def similar(
    model: Path,
    ids: list[str],
    /,
    *,
    n: Count = 10,
    measure: Similarity = "cosine",
    shrinkage: float = SHRINKAGE,
    users: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> None:
    """Find the items most alike to given ones.

    Args:
        model: Folder that `jaxals fit` wrote.
        ids: Ids of items.
        n: How many each.
        measure: Cosine of the vectors, or their dot product, which favours popular items.
        shrinkage: How little a cosine with an item of few entries counts: k / (k + shrinkage) for k of them.
        users: The ids are users, and users are found.
    """
    recommender = _load(model)
    side, known = ("user", recommender.catalog.users) if users else ("item", recommender.catalog.items)
    asked = raw_ids(known, ids)
    frame = (recommender.similar_users if users else recommender.similar_items)(asked, n, measure, shrinkage)
    if json:
        print_json({"similar": frame})
        return
    for raw in asked:
        own = frame[frame[side] == raw].drop(columns=side)
        print_table(_ranked(own), f"Like {side} {raw}" if len(own) else f"Like {side} {raw}: nothing")


@app.command(
    help_epilogue="Example: `jaxals evaluate lastfm-2k --objective log --holdout 5 --metrics recall@20 ndcg@20`"
)
def evaluate(
    data: Data,
    /,
    *,
    holdout: Count | None = None,
    fraction: float | None = None,
    metrics: Metrics = DEFAULT_METRICS,
    seed: Seed = 0,
    json: Json = False,
    progress: Bar = True,
    columns: ColumnOptions = COLUMNS,
    preset: PresetOptions = PRESET,
    trainer: TrainerOptions = TRAINER,
    solver: SolverName = "exact",
) -> None:
    """Split, train, and measure on what was held out, beside popularity and random.

    Args:
        data: Data.
        holdout: Hold out this many items of each user.
        fraction: Hold out this share of all interactions; a fifth, if neither is given.
    """
    build_objective(preset)  # refuses what is wrong before anything is read
    trainer = dataclasses.replace(trainer, solver=SOLVERS[solver])
    if trainer.dtype == "float64":
        _allow_float64()
    interactions = read(data, columns)
    split = split_up(interactions, holdout, fraction, seed)
    objective = build_objective(preset, split.train)
    plan = plan_evaluation(split.train, split.test, metrics)
    if not json:
        say(f"{data}: {interactions!r}, {len(split.test):,} of them held out")
    run = training.fit(split.train, objective, trainer, seed=seed, progress=draws_bars(progress))
    scorers: dict[str, Scorer] = {
        f"ALS, {describe(preset, split.train)}": run.factors,
        "popularity": Popularity.from_interactions(split.train),
        "random": Random(jax.random.key(seed), interactions.n_items),
    }
    measured = {name: run_plan(scorer, plan, draws_bars(progress)) for name, scorer in scorers.items()}
    frame = pd.concat({name: one.to_frame() for name, one in measured.items()}, names=["model"]).reset_index("model")
    if json:
        print_json({"data": data, "held_out": len(split.test), **_summary(run), "metrics": frame})
    else:
        print_table(_side_by_side(measured), "Mean over users ± standard error")
    if below := below_popularity(next(iter(measured.values())).metrics, measured["popularity"]):
        warnings.warn(below, stacklevel=2)


app.command(
    tune,
    help_epilogue="Example: `jaxals tune lastfm-2k --objective ials --factors 32,64 --regularization 0.003..0.3`",
)


@app.command(name="datasets", help_epilogue="Example: `jaxals datasets --json`")
def list_datasets(*, json: Json = False) -> None:
    """List the public data sets that other commands know by name."""
    rows = []
    for name in datasets.names():
        info, path = datasets.info(name), datasets.find(name)
        rows.append(
            {
                "name": name,
                "title": info.title,
                "download": f"{info.size} MB",
                "in JAXALS_DATA": str(path) if path else None,
                "licence": info.licence,
                "citation": info.citation,
            }
        )
    if json:
        print_json({"datasets": pd.DataFrame(rows)})
        return
    table = pd.DataFrame(rows).assign(
        here=lambda frame: frame["in JAXALS_DATA"].notna().map({True: "yes", False: "no"})
    )
    print_table(
        table[["name", "download", "here", "licence"]], "Data sets (here: in the folder that JAXALS_DATA names)"
    )
    for row in rows:
        say(f"{row['name']}: {row['citation']}")


@app.command(help_epilogue="Example: `jaxals demo`")
def demo(*, output: Path = Path("demo-output/demo.png"), progress: Bar = True) -> None:
    """Train on MovieLens, compare with popularity, recommend, explain, and draw a picture, in under a minute.

    Args:
        output: Where the picture goes.
    """
    from jaxals.cli.demo import show

    show(output, progress=draws_bars(progress))


def _allow_float64() -> None:
    jax.config.update("jax_enable_x64", True)


def _load(model: Path) -> Recommender:
    require_devices()
    # A model of float64 then answers in float64; one of float32 is what it was.
    _allow_float64()
    return Recommender.load(model)


def _summary(run: Run) -> dict[str, Any]:
    history = run.history.drop(columns="step").rename(columns={name: name.replace("_", " ") for name in _WORDS})
    last = {} if history.empty else history.to_dict("records")[-1]
    return {"sweeps": len(run.history), **{str(k): v for k, v in last.items()}, "stopped early": run.stopped_early}


def _side_by_side(measured: dict[str, Evaluation]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": name,
            **{metric: one.to_text(metric) for metric in one.names},
        }
        for name, one in measured.items()
    )


def _ranked(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["rank", *(column for column in frame if column != "rank")]]
