"""The table of a paper: models x seeds on one plan, whether they differ, and the settings beside it. Host side."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from jaxals._base.arguments import listed, require_flag, require_function, require_kind, told
from jaxals._base.checks import require_fraction, require_integer
from jaxals._base.settings import shown
from jaxals.data.columns import as_numbers
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation.comparison import p_values, resampled_means
from jaxals.evaluation.metrics import LIST_METRICS
from jaxals.evaluation.plans import EvaluationPlan
from jaxals.evaluation.ranking import Scorer, run_plan
from jaxals.evaluation.results import Evaluation

# Of these alone is more always better.
_BETTER_IF_MORE = (*LIST_METRICS, "auc")
_GREEK = {"α": "alpha", "β": "beta", "ε": "epsilon", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "σ": "sigma"}
_OF_LATEX = str.maketrans(
    {one: f"\\{one}" for one in "&%$#_{}"}
    | {one: f"${one}$" for one in "<>|"}
    | {"±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {letter: rf"$\{name}$" for letter, name in _GREEK.items()}
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PaperTable:
    """Models x seeds on one plan, as `paper_table` measured them.

    Attributes:
        values: One row for each model and seed: model, seed, and each metric's mean over users.
        tests: One row for each pair and metric: metric, first, second, difference (first - second, of means over users
            and seeds), low and high (its interval), p_value, and corrected: after Holm 1979, over all rows.
        n_users: Users that the means are over.
        settings: What each model is, in words; models of which nothing was said are not among them.
        level: A corrected p-value below it is a difference.

    Example:
        >>> import jax, jaxals
        >>> from jaxals.evaluation import Popularity, Random, leave_k_out, paper_table, plan_evaluation
        >>> data = jaxals.datasets.synthetic(n_users=200, n_items=50, n_interactions=2000, seed=0)
        >>> split = leave_k_out(data, k=1, seed=0)
        >>> models = {
        ...     "popularity": Popularity.from_interactions(split.train),
        ...     "random": lambda seed: Random(jax.random.key(seed), 50),
        ... }
        >>> table = paper_table(models, plan_evaluation(split.train, split.test, ["ndcg@10"]), seeds=range(3))
        >>> table.to_markdown().splitlines()[2][:18], table.beats_all("popularity", "ndcg@10")
        ('| popularity | **0', True)
    """

    values: pd.DataFrame
    tests: pd.DataFrame
    n_users: int
    settings: dict[str, str]
    level: float

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics."""
        return list(self.values.columns[2:])

    @property
    def means(self) -> pd.DataFrame:
        """Means over seeds, a row for each model and a column for each metric."""
        return self._by_model().mean()

    @property
    def deviations(self) -> pd.DataFrame:
        """Standard deviation over seeds, NaN where there is one; as `means`."""
        return self._by_model().std()

    def best(self, metric: str) -> str | None:
        """Return the model with the highest mean; None of a metric of which more is not always better.

        Args:
            metric: One of `metrics`.

        Raises:
            ConfigurationError: It was not measured.
        """
        if not isinstance(metric, str) or metric not in self.metrics:
            raise ConfigurationError(f"`metric` must be one of {', '.join(self.metrics)}; got {told(metric)}.")
        return str(self.means[metric].idxmax()) if metric.split("@")[0] in _BETTER_IF_MORE else None

    def beats_all(self, model: str, metric: str) -> bool:
        """Tell whether a model is better than each other one by more than chance.

        Args:
            model: Its name.
            metric: One of `metrics`.

        Returns:
            False where a pair was not tested.

        Raises:
            ConfigurationError: There is no such model or metric.
        """
        if not isinstance(model, str) or model not in self.means.index:
            raise ConfigurationError(f"`model` must be one of {', '.join(self.means.index)}; got {told(model)}.")
        others = [one for one in self.means.index if one != model]
        self.best(metric)  # refuses what was not measured
        rows = self.tests[(self.tests["metric"] == metric) & (self.tests["corrected"] < self.level)]
        ahead = rows.loc[(rows["first"] == model) & (rows["difference"] > 0), "second"]
        behind = rows.loc[(rows["second"] == model) & (rows["difference"] < 0), "first"]
        return bool(others) and set(others) <= {*ahead, *behind}

    def to_frame(self) -> pd.DataFrame:
        """Return the cells as text, "0.1234 ± 0.0012", without any mark-up: models x metrics."""
        return self._cells("", "", "")

    def to_markdown(self) -> str:
        """Write the table, what its marks mean, and the settings, in Markdown."""
        cells = self._cells("**", "**", r"\*")
        lines = [["model", *cells.columns], ["---"] * (1 + len(cells.columns))]
        lines += [[name, *row] for name, row in zip(cells.index, cells.to_numpy(), strict=True)]
        text = [f"| {' | '.join(one.replace('|', chr(92) + '|') for one in line)} |" for line in lines]
        text += ["", self.note()]
        if self.settings:
            text += ["", *(f"- {name}: `{said}`" for name, said in self.settings.items())]
        return "\n".join(text) + "\n"

    def to_latex(self) -> str:
        """Write the table, its note and the settings, in LaTeX with the package booktabs."""
        cells = self._cells(r"\textbf{", "}", "$^*$", _as_latex)
        lines = [["model", *map(_as_latex, cells.columns)]]
        lines += [[_as_latex(name), *row] for name, row in zip(cells.index, cells.to_numpy(), strict=True)]
        head, *body = (f"{' & '.join(line)} \\\\" for line in lines)
        text = [rf"\begin{{tabular}}{{l{'r' * len(cells.columns)}}}", r"\toprule", head, r"\midrule", *body]
        text += [r"\bottomrule", r"\end{tabular}", "", _as_latex(self.note())]
        text += [rf"% {name}: {said}" for name, said in self.settings.items()]
        return "\n".join(text) + "\n"

    def note(self) -> str:
        """Say what stands in the cells and how it was tested, for the caption."""
        seeds = self.values.groupby("model", sort=False).size()
        parts = [f"Means over {self.n_users:,} users"]
        if (seeds > 1).any():
            few, many = seeds[seeds > 1].min(), seeds.max()
            count = f"{few}" if few == many else f"{few} to {many}"
            parts.append(f"± standard deviation over {count} seeds where chance has a part")
        parts.append("best in bold")
        if len(self.tests):
            way = f"paired bootstrap over users, {len(self.tests)} tests corrected by Holm"
            parts.append(f"* better than every other model, p < {self.level:g} ({way})")
        return f"{'; '.join(parts)}."

    def __repr__(self) -> str:
        return f"{self.to_frame().rename_axis('model').to_string()}\n{self.note()}"

    def _by_model(self) -> Any:
        return self.values.drop(columns="seed").groupby("model", sort=False)

    def _cells(self, before: str, after: str, star: str, write: Any = str) -> pd.DataFrame:
        means, deviations = self.means, self.deviations
        cells = pd.DataFrame("", means.index, means.columns)
        for metric in means.columns:
            best = self.best(metric)
            for model in means.index:
                spread = deviations.loc[model, metric]
                cell = write(f"{means.loc[model, metric]:.4f}" + ("" if np.isnan(spread) else f" ± {spread:.4f}"))
                if model == best and before:
                    cell = f"{before}{cell}{after}" + (star if self.beats_all(model, metric) else "")
                cells.loc[model, metric] = cell
        return cells


def paper_table(
    models: Mapping[str, Any],
    plan: EvaluationPlan,
    *,
    seeds: Iterable[int] = (0,),
    reference: str | None = None,
    settings: Mapping[str, Any] | None = None,
    level: float = 0.05,
    resamples: int = 10_000,
    progress: bool = False,
) -> PaperTable:
    """Measure several models, for several seeds each, on one plan, and test which of them differ.

    Each pair of models is compared as `compare` does, by each user's mean over seeds: would other users say the same?
    The p-values are corrected for how many of them there are (Holm 1979), so that the chance that any difference in the
    table is none is at most `level`.

    Args:
        models: By name, what `run_plan` takes or what `fit` returns, one or a list of them, one for each seed; or a
            function of a seed that makes one. An `Evaluation` on the same plan is taken as it is.
        plan: From `plan_evaluation` or `plan_negatives`.
        seeds: For which the functions are called.
        reference: Name of the model that all others are compared with; by default all pairs are compared.
        settings: By name, what to say of a model beside the table; what `fit` returned says it by itself.
        level: Above 0 and below 1.
        resamples: How many times users are drawn.
        progress: Draw a progress bar for each evaluation.

    Returns:
        Values, tests, and the table as text, Markdown and LaTeX.

    Raises:
        ConfigurationError: There is no model, or a setting lies outside its range.
        DataError: A model is nothing to measure, or an evaluation is of other users or metrics.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, leave_k_out, paper_table, plan_evaluation
        >>> data = jaxals.datasets.synthetic(n_users=200, n_items=50, n_interactions=2000, seed=0)
        >>> split = leave_k_out(data, k=1, seed=0)
        >>> plan = plan_evaluation(split.train, split.test, ["recall@10"])
        >>> popularity, ease = Popularity.from_interactions(split.train), jaxals.EASE(20.0).fit(split.train)
        >>> paper_table({"popularity": popularity, "EASE": ease}, plan).best("recall@10")
        'EASE'
    """
    require_kind("models", models, Mapping, "models by their names")
    require_kind("plan", plan, EvaluationPlan, "from `plan_evaluation` or `plan_negatives`", DataError)
    said = {} if settings is None else settings
    require_kind("settings", said, Mapping, "what to say of models, by their names")
    for name, value in (("models", models), ("settings", said)):
        if other := [one for one in value if not isinstance(one, str)]:
            raise ConfigurationError(f"`{name}` must have names that are text; got {told(other[0])}.")
    if not models:
        raise ConfigurationError("`models` must hold a model to measure; got none.")
    seeds = listed("seeds", seeds, "a list of integers")
    for seed in seeds:
        require_integer("seeds", seed, 0)
    if reference is not None and (not isinstance(reference, str) or reference not in models):
        raise ConfigurationError(f"`reference` must be one of {', '.join(models)}, or None; got {told(reference)}.")
    require_fraction("level", level)
    require_integer("resamples", resamples, 1)
    require_flag("progress", progress)
    measured: dict[str, list[Evaluation]] = {}
    words: dict[str, str] = {}
    for name, given in models.items():
        found = [_measured(name, one, plan, progress) for one in _of_seeds(name, given, seeds)]
        measured[name] = [evaluation for evaluation, _ in found]
        if text := shown(said[name]) if name in said else found[0][1]:
            words[name] = " ".join(text.split())
    rows = [
        {"model": name, "seed": number, **one.metrics}
        for name, ones in measured.items()
        for number, one in enumerate(ones)
    ]
    tests = _tests(measured, reference, resamples)
    return PaperTable(pd.DataFrame(rows), tests, len(plan.user), words, float(level))


def holm(p: Iterable[float]) -> np.ndarray:
    """Correct p-values for their number (Holm 1979): the k-th smallest of m by m - k + 1, never below a smaller one's.

    Args:
        p: The p-values.

    Returns:
        As many, in the same order, at most 1.

    Example:
        >>> from jaxals.evaluation import holm
        >>> holm([0.02, 0.01, 0.5]).tolist()
        [0.04, 0.03, 0.5]
    """
    values = as_numbers(listed("p", p, "a list of p-values", DataError), "`p`")
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError(f"`p` must be numbers from 0 to 1; got {told(p)}.")
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return corrected


def _as_latex(text: Any) -> str:
    return str(text).translate(_OF_LATEX)


def _of_seeds(name: str, given: Any, seeds: list[int]) -> list[Any]:
    if isinstance(given, (list, tuple)):
        if not given:
            raise DataError(f"`models` must have a model for {name!r}; got an empty list.")
        return list(given)
    if isinstance(given, Evaluation) or _is_scorer(given) or _is_scorer(getattr(given, "factors", None)):
        return [given]
    require_function(f"models[{told(name)}]", given, of=["seed"])
    if not seeds:
        raise ConfigurationError("`seeds` must hold one for the functions to be called with; got none.")
    return [given(seed) for seed in seeds]


def _is_scorer(given: Any) -> bool:
    return isinstance(given, Scorer) and not isinstance(given, type)


def _measured(name: str, given: Any, plan: EvaluationPlan, progress: bool) -> tuple[Evaluation, str]:
    if isinstance(given, Evaluation):
        metrics = {metric.name for metric in plan.metrics}
        if not np.array_equal(given.user, plan.user) or set(given.names) != metrics:
            raise DataError(f"`models` must be measured on the `plan`; the evaluation of {name!r} is of another one.")
        return given, ""
    if not _is_scorer(given) and _is_scorer(getattr(given, "factors", None)):  # what `fit` returns
        text = ", ".join(shown(getattr(given, part)) for part in ("objective", "trainer") if hasattr(given, part))
        return run_plan(given.factors, plan, progress), text
    if not _is_scorer(given):
        raise DataError(f"`models` must have scorers, runs or evaluations; that of {name!r} is {told(given)}.")
    return run_plan(given, plan, progress), ""


def _tests(measured: dict[str, list[Evaluation]], reference: str | None, resamples: int) -> pd.DataFrame:
    metrics = next(iter(measured.values()))[0].user_metrics
    pairs = list(itertools.combinations(measured, 2))
    if reference is not None:
        pairs = [(name, reference) for name in measured if name != reference]
    names = ["metric", "first", "second", "difference", "low", "high", "p_value", "corrected"]
    n_users = next(iter(measured.values()))[0].n_users
    if not pairs or n_users < 2:
        return pd.DataFrame(columns=names)
    # By each user's mean over seeds; one draw of users serves all models, as the resampled means are linear.
    of_models = {name: np.mean([one.values for one in ones], axis=0) for name, ones in measured.items()}
    columns = np.concatenate(list(of_models.values()), axis=1)
    if not np.isfinite(columns).all():
        raise DataError("`models` must have finite metrics for every user to be compared; leave users without out.")
    drawn = dict(zip(of_models, np.split(resampled_means(columns, resamples, 0), len(of_models), axis=1), strict=True))
    rows: list[dict[str, Any]] = []
    for first, second in pairs:
        means = drawn[first] - drawn[second]  # [resamples, metrics]
        low, high = np.percentile(means, [2.5, 97.5], axis=0)
        found, p = (of_models[first] - of_models[second]).mean(axis=0), p_values(means, n_users)
        for place, metric in enumerate(metrics):
            facts = (found[place], low[place], high[place], p[place])
            rows.append(dict(zip(names, (metric, first, second, *facts), strict=False)))
    return pd.DataFrame(rows).assign(corrected=holm([row["p_value"] for row in rows]))
