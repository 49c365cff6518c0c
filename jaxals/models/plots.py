"""Pictures of what `fit` and `evaluate` return. Host side; needs matplotlib, the extra `plots`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jaxals._base.arguments import require_kind, require_text, told
from jaxals._base.checks import require_integer
from jaxals._base.drawing import PALETTE as PALETTE
from jaxals._base.drawing import axes_of, plain, points_of_a_bar, tidied, title_of, write_names
from jaxals.errors import DataError
from jaxals.objective.factors import Factors, require_factors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two-sided 95 % of a normal distribution, in standard errors.
_CONFIDENCE_WIDTH = 1.96
# Lines are told apart by their marks as well, and beyond as many colours as there are by their dashes.
_LINES = ("-", "--", ":")
_MARKS = "os^Dv"
# Points: how wide a number of three digits is, how high its line, and how wide the name of a metric.
_POINTS_OF_A_NUMBER, _POINTS_OF_A_LINE, _POINTS_OF_A_NAME = 24.0, 7.5, 52.0
# A loss is not drawn closer to the least than this, relative to it: on a logarithmic scale the least has no place.
_LOSS_FLOOR = 1e-5


def plot_loss(history: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """Draw how the loss fell.

    Args:
        history: `Run.history`: the count of steps in the first column, and a column "loss".
        ax: Where to draw; by default a new figure's axes (`ax.figure.savefig(...)` writes it to a file).

    Returns:
        The axes.

    Raises:
        DataError: There is no loss to draw.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> ax = jaxals.plots.plot_loss(pd.DataFrame({"step": [1, 2, 3], "loss": [9.0, 4.0, 3.5]}))
        >>> ax.get_xlabel()
        'step'
    """
    _require_frame("history", history)
    if "loss" not in history or not history["loss"].notna().any():
        raise DataError(f"There is no loss to draw; the `history` has the columns {told(list(history.columns))}.")
    _require_numbers("history", history, ["loss", history.columns[0]])
    ax = axes_of(ax)
    unit = str(history.columns[0])
    known = history[history["loss"].notna()]
    ax.plot(known[unit], known["loss"], color=PALETTE[0], marker="o", markersize=4, linewidth=1.8)
    last = known.iloc[-1]
    ax.annotate(
        plain(last["loss"], None),
        (last[unit], last["loss"]),
        xytext=(0, 8),
        textcoords="offset points",
        ha="right",
        color=PALETTE[0],
    )
    ax.set(xlabel=unit, ylabel="loss over all user-item pairs", title=f"Loss after each {unit}")
    ax.locator_params(axis="x", integer=True)
    ax.yaxis.set_major_formatter(plain)
    return tidied(ax)


def plot_metrics(frame: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """Draw the metrics of models side by side, with 95 % confidence intervals.

    Args:
        frame: One row per model and metric, with the columns model, metric, mean and standard_error:
            `pandas.concat({"ALS": evaluate(...).to_frame(), ...}, names=["model"]).reset_index("model")`.
        ax: Where to draw; by default a new figure's axes.

    Returns:
        The axes.

    Raises:
        DataError: A column is missing.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> frame = pd.DataFrame({"model": ["ALS", "popularity"], "metric": "ndcg@10", "mean": [0.3, 0.1]})
        >>> ax = jaxals.plots.plot_metrics(frame.assign(standard_error=0.01))
        >>> [bar.get_text() for bar in ax.get_xticklabels()]
        ['NDCG@10']
    """
    _require_frame("frame", frame)
    _require_columns(frame, ["model", "metric", "mean", "standard_error"], "The metrics")
    _require_numbers("frame", frame, ["mean", "standard_error"])
    metrics, models = list(frame["metric"].unique()), list(frame["model"].unique())
    ax = axes_of(ax, models, len(metrics) * len(models))
    width = 0.8 / len(models)
    points = points_of_a_bar(ax, models, len(metrics))
    for place, model in enumerate(models):
        rows = frame[frame["model"] == model].set_index("metric").reindex(metrics)
        bars = ax.bar(
            np.arange(len(metrics)) + (place - (len(models) - 1) / 2) * width,
            rows["mean"],
            0.92 * width,
            yerr=_CONFIDENCE_WIDTH * rows["standard_error"],
            label=model,
            color=PALETTE[place % len(PALETTE)],
            error_kw={"elinewidth": 1, "ecolor": "#333333"},
        )
        if points >= _POINTS_OF_A_LINE:  # where bars are thinner than letters are high, numbers would lie on each other
            is_wide = points >= _POINTS_OF_A_NUMBER
            ax.bar_label(bars, fmt="%.3f", padding=2, fontsize=8 if is_wide else 7, rotation=0 if is_wide else 90)
    ax.set_xticks(np.arange(len(metrics)), [title_of(metric) for metric in metrics])
    if points * len(models) / 0.8 < _POINTS_OF_A_NAME:
        ax.tick_params(axis="x", rotation=25)
    ax.tick_params(axis="x", length=0)
    ax.set(ylabel="mean over users", title="Held-out items found, with 95 % confidence intervals")
    ax.margins(y=0.2)  # room for numbers, and the names within the axes
    write_names(ax, len(models), loc="upper left", ncols=len(models))
    return tidied(ax)


def plot_curves(
    runs: Mapping[str, pd.DataFrame], y: str = "loss", x: str = "seconds", ax: "Axes | None" = None
) -> "Axes":
    """Draw how the loss or a metric of several runs went on, over sweeps, steps or seconds.

    A loss is drawn as what is above the least that any of the runs reached, on a logarithmic scale: that is where runs
    differ. The least itself is left out.

    Args:
        runs: Histories such as `Run.history` by the name of their run.
        y: What to draw: "loss" or a column of metrics.
        x: Over what: "seconds", "step" or another column that all histories have.
        ax: Where to draw; by default a new figure's axes.

    Returns:
        The axes.

    Raises:
        DataError: There is no run, or one lacks a column.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> slow = pd.DataFrame({"step": [1, 2, 3], "seconds": [1.0, 2.0, 3.0], "loss": [9.0, 5.0, 4.0]})
        >>> fast = pd.DataFrame({"step": [1, 2, 3], "seconds": [0.1, 0.2, 0.3], "loss": [6.0, 4.0, 3.0]})
        >>> ax = jaxals.plots.plot_curves({"ALS": fast, "gradient": slow})
        >>> ax.get_ylabel(), ax.get_yscale()
        ('loss above the least of all', 'log')
    """
    require_kind("runs", runs, Mapping, "histories by the names of their runs", DataError)
    if not runs:
        raise DataError("There is no run to draw; `runs` is empty.")
    for name, column in (("x", x), ("y", y)):
        require_text(name, column, "the name of a column", DataError)
    for name, history in runs.items():
        _require_frame(f"runs[{told(name)}]", history)
        _require_columns(history, [x, y], f"The history of {name!r}")
        _require_numbers(f"runs[{told(name)}]", history, [x, y])
    is_loss = y == "loss"
    best = min(history[y].min() for history in runs.values()) if is_loss else 0.0
    ax = axes_of(ax, runs)
    for place, (name, history) in enumerate(runs.items()):
        known = history[history[y].notna()]
        height = known[y]
        if is_loss and best:
            above = (known["loss"] - best) / abs(best)
            height = above.where(above >= _LOSS_FLOOR)
        style = _LINES[place // len(PALETTE) % len(_LINES)]
        colour = PALETTE[place % len(PALETTE)]
        mark = _MARKS[place % len(_MARKS)]
        ax.plot(known[x], height, style, color=colour, label=name, marker=mark, markersize=3, linewidth=1.5)
    if is_loss:
        ax.set_yscale("log")
        ax.set_ylabel("loss above the least of all")
        ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    else:
        ax.set_ylabel(title_of(y))
    ax.set(xlabel="seconds of training" if x == "seconds" else x)
    write_names(ax, len(runs))
    return tidied(ax)


def plot_popularity(frame: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """Draw a metric by how popular the items are, for one model or several.

    Args:
        frame: One row per bucket, as `jaxals.evaluation.by_popularity` returns them: lowest, highest (counts of an
            item), mean and standard_error; several models are told apart by a column "model".
        ax: Where to draw; by default a new figure's axes.

    Returns:
        The axes.

    Raises:
        DataError: A column is missing.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> frame = pd.DataFrame({"lowest": [1, 10], "highest": [9, 80], "mean": [0.1, 0.4], "standard_error": 0.01})
        >>> [text.get_text() for text in jaxals.plots.plot_popularity(frame).get_xticklabels()]
        ['1–9', '10–80']
    """
    _require_frame("frame", frame)
    _require_columns(frame, ["lowest", "highest", "mean", "standard_error"], "The buckets")
    _require_numbers("frame", frame, ["lowest", "highest", "mean", "standard_error"])
    models = frame.groupby("model", sort=False) if "model" in frame else [("", frame)]
    ax = axes_of(ax, [model for model, _ in models], len(frame))
    width = 0.8 / len(models)
    for place, (model, rows) in enumerate(models):
        at = np.arange(len(rows)) + (place - (len(models) - 1) / 2) * width
        error = _CONFIDENCE_WIDTH * rows["standard_error"]
        colour, bar = PALETTE[place % len(PALETTE)], {"elinewidth": 1, "ecolor": "#333333"}
        ax.bar(at, rows["mean"], 0.92 * width, yerr=error, label=model, color=colour, error_kw=bar)
        labels = [f"{low:,}–{high:,}" for low, high in zip(rows["lowest"], rows["highest"], strict=True)]
        ax.set_xticks(np.arange(len(rows)), labels)
    ax.set(xlabel="users that an item has in training", ylabel="mean, with 95 % confidence interval")
    if "model" in frame:
        write_names(ax, len(models), fontsize=9)
    tidied(ax).set_ylim(bottom=min(0, frame["mean"].min()))
    return ax


def plot_spectrum(frame: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """Draw how much each factor carries: the singular values of the matrix of all scores.

    Args:
        frame: Singular values, the largest first, one column for each model; `jaxals.plots.spectrum` computes them.
        ax: Where to draw; by default a new figure's axes.

    Returns:
        The axes.

    Raises:
        DataError: There is no column.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> ax = jaxals.plots.plot_spectrum(pd.DataFrame({"ALS": [3.0, 1.0, 0.5]}))
        >>> ax.get_ylabel()
        'singular value of the scores'
    """
    _require_frame("frame", frame)
    _require_numbers("frame", frame, list(frame))
    ax = axes_of(ax, frame)
    for place, model in enumerate(frame):
        values = frame[model].dropna()
        colour, mark = PALETTE[place % len(PALETTE)], _MARKS[place % len(_MARKS)]
        ax.plot(np.arange(1, len(values) + 1), values, color=colour, label=model, marker=mark, markersize=3)
    ax.set_yscale("log")
    ax.set(xlabel="factor, the strongest first", ylabel="singular value of the scores")
    ax.yaxis.set_major_formatter(plain)
    # Numbers between powers of ten have room where there is one such power.
    drawn = frame.to_numpy(float)
    has_room = np.max(drawn, initial=0.0, where=drawn > 0) < 10 * np.min(drawn, initial=np.inf, where=drawn > 0)
    ax.yaxis.set_minor_formatter(plain if has_room else "")
    ax.locator_params(axis="x", integer=True)
    write_names(ax, frame.shape[1], fontsize=9)
    return tidied(ax)


def spectrum(factors: Factors) -> np.ndarray:
    """Compute the singular values of the matrix of all scores X Yᵀ, the largest first, without forming it.

    Args:
        factors: Both tables.

    Returns:
        As many numbers as there are factors, or users, or items, whatever is least.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> jaxals.plots.spectrum(jaxals.Factors(2 * jnp.eye(3, 2), jnp.eye(4, 2))).tolist()
        [2.0, 2.0]
    """
    require_factors("factors", factors)
    # X = Q R for orthogonal Q, on either side: the values of X Yᵀ are those of the small R_x R_yᵀ.
    triangle = lambda table: np.asarray(np.linalg.qr(np.asarray(table, np.float64), mode="r"))
    user, item = triangle(factors.user), triangle(factors.item)
    return np.linalg.svd(user @ item.T, compute_uv=False)


def plot_map(frame: pd.DataFrame, ax: "Axes | None" = None, n_names: int = 40) -> "Axes":
    """Draw items as points of a plane, the largest ones with their names.

    Args:
        frame: One row per item: x, y, name and size (such as the users it has); perhaps "group", which colours it.
        ax: Where to draw; by default a new figure's axes.
        n_names: How many names to write at most; one that would lie on another is left out.

    Returns:
        The axes.

    Raises:
        DataError: A column is missing.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> frame = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0], "name": ["Björk", "ABBA"], "size": [5, 9]})
        >>> sorted(text.get_text() for text in jaxals.plots.plot_map(frame).texts)
        ['ABBA', 'Björk']
    """
    _require_frame("frame", frame)
    _require_columns(frame, ["x", "y", "name", "size"], "The map")
    _require_numbers("frame", frame, ["x", "y", "size"])
    require_integer("n_names", n_names, 0)
    ax = axes_of(ax)
    group = pd.factorize(frame["group"])[0] if "group" in frame else np.zeros(len(frame), int)
    colours = [PALETTE[int(place) % len(PALETTE)] for place in group]
    area = 60 * frame["size"] / frame["size"].max()
    ax.scatter(frame["x"], frame["y"], s=area, c=colours, alpha=0.5, linewidths=0)
    ax.autoscale_view()  # where names end up depends on it
    taken: list[Any] = []
    renderer = ax.figure.canvas.get_renderer() if hasattr(ax.figure.canvas, "get_renderer") else None
    largest = frame.nlargest(3 * n_names, "size")
    for name, x, y in zip(largest["name"], largest["x"], largest["y"], strict=True):
        if len(taken) == n_names:
            break
        text = ax.annotate(str(name), (x, y), fontsize=7, ha="center", va="bottom")
        extent = text.get_window_extent(renderer)
        if any(extent.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(extent)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _require_frame(name: str, frame: Any) -> None:
    advice = " (of a run, its `history`)" if isinstance(getattr(frame, "history", None), pd.DataFrame) else ""
    require_kind(name, frame, pd.DataFrame, f"a DataFrame{advice}", DataError)
    if frame.empty:
        missing = "row" if frame.shape[1] else "column"
        raise DataError(f"There is no {missing} to draw; `{name}` is empty.")


def _require_numbers(name: str, frame: pd.DataFrame, columns: list[Any]) -> None:
    for column in columns:
        found = frame[column]
        if not isinstance(found, pd.Series) or not pd.api.types.is_numeric_dtype(found):
            kind = found.dtype if isinstance(found, pd.Series) else "several columns"
            raise DataError(f"`{name}` must have numbers in its column {column!r}; got {kind}.")


def _require_columns(frame: pd.DataFrame, needed: list[str], what: str) -> None:
    if missing := [column for column in needed if column not in frame]:
        needed = [told(column).strip("'") for column in needed]
        plural = "have" if what.startswith("The metrics") or what.startswith("The buckets") else "has"
        raise DataError(f"{what} {plural} no column {told(missing[0])}; needed are {', '.join(needed)}.")
