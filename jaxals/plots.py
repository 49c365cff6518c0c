"""Pictures of what `fit` and `evaluate` return. Host side; needs matplotlib, the extra `plots`."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from jaxals.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stay apart for colour-blind readers and in grey (Okabe and Ito 2008), the strongest first.
_COLOURS = ("#0072B2", "#E69F00", "#999999", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
# Two-sided 95 % of a normal distribution, in standard errors.
_CONFIDENCE_WIDTH = 1.96


def plot_loss(history: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """Draw how the loss fell.

    Args:
        history: `Run.history`: the count of sweeps or steps in the first column, and a column "loss".
        ax: Where to draw; by default a new figure's axes (`ax.figure.savefig(...)` writes it to a file).

    Returns:
        The axes.

    Raises:
        DataError: There is no loss to draw.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> ax = plot_loss(pd.DataFrame({"sweep": [1, 2, 3], "loss": [9.0, 4.0, 3.5]}))
        >>> ax.get_xlabel()
        'sweep'
    """
    if "loss" not in history or not history["loss"].notna().any():
        raise DataError(f"There is no loss to draw; the history has the columns {list(history.columns)}.")
    ax = _axes(ax)
    unit = str(history.columns[0])
    known = history[history["loss"].notna()]
    ax.plot(known[unit], known["loss"], color=_COLOURS[0], marker="o", markersize=4, linewidth=1.8)
    last = known.iloc[-1]
    ax.annotate(
        _plain(last["loss"], None),
        (last[unit], last["loss"]),
        xytext=(0, 8),
        textcoords="offset points",
        ha="right",
        color=_COLOURS[0],
    )
    ax.set(xlabel=unit, ylabel="loss over all user-item pairs", title=f"Loss after each {unit}")
    ax.locator_params(axis="x", integer=True)
    ax.yaxis.set_major_formatter(_plain)
    return _tidied(ax)


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
        >>> frame = pd.DataFrame({"model": ["ALS", "popularity"], "metric": "ndcg@10", "mean": [0.3, 0.1]})
        >>> ax = plot_metrics(frame.assign(standard_error=0.01))
        >>> [bar.get_text() for bar in ax.get_xticklabels()]
        ['NDCG@10']
    """
    needed = ["model", "metric", "mean", "standard_error"]
    if missing := [column for column in needed if column not in frame]:
        raise DataError(f"The metrics have no column {missing[0]!r}; they need {', '.join(needed)}.")
    ax = _axes(ax)
    metrics, models = list(frame["metric"].unique()), list(frame["model"].unique())
    width = 0.8 / len(models)
    for place, model in enumerate(models):
        rows = frame[frame["model"] == model].set_index("metric").reindex(metrics)
        bars = ax.bar(
            np.arange(len(metrics)) + (place - (len(models) - 1) / 2) * width,
            rows["mean"],
            0.92 * width,
            yerr=_CONFIDENCE_WIDTH * rows["standard_error"],
            label=model,
            color=_COLOURS[place % len(_COLOURS)],
            error_kw={"elinewidth": 1, "ecolor": "#333333"},
        )
        ax.bar_label(bars, fmt="%.3f", padding=2, fontsize=8)
    ax.set_xticks(np.arange(len(metrics)), [_title(metric) for metric in metrics])
    ax.tick_params(axis="x", length=0)
    ax.set(ylabel="mean over users", title="Held-out items found, with 95 % confidence intervals")
    ax.margins(y=0.2)  # room for the legend
    ax.legend(frameon=False, ncols=len(models), loc="upper left", fontsize=9)
    return _tidied(ax)


def _axes(ax: "Axes | None") -> "Axes":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("Plots need matplotlib: pip install 'jaxals[plots]'.") from None
    # A figure of its own, outside pyplot: nothing global changes, and nothing has to be closed.
    return Figure(figsize=(5, 3.4), layout="constrained").subplots() if ax is None else ax


def _tidied(ax: "Axes") -> "Axes":
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.title.set_fontsize(10.5)
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]) if ax.patches else None)
    return ax


def _plain(value: float, _: object) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _title(metric: str) -> str:
    """Write a metric as papers do: NDCG@10, recall@20."""
    kind = metric.split("@")[0]
    return metric.replace(kind, kind.upper() if kind in ("ndcg", "map", "mrr", "auc") else kind.replace("_", " "))
