"""What pictures share: colours, axes with room for names, and how numbers are written. Host side; needs matplotlib."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jaxals._base.arguments import require_kind
from jaxals.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stay apart for colour-blind readers, the strongest first: those of Okabe and Ito 2008 but for yellow, too
# weak for lines on white, and two of Tol 2021.
PALETTE = ("#0072B2", "#E69F00", "#999999", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#882255", "#999933")
# More names than these stand beside the axes; within them they would lie on what is drawn.
_MOST_WITHIN = 3


def axes_of(ax: "Axes | None", names: Iterable[Any] = (), n_bars: int = 0) -> "Axes":
    """Return the axes, or make a figure with room for so many bars, and for names beside them."""
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("Plots need matplotlib: pip install 'jaxals[plots]'.") from None
    if ax is not None:
        require_kind("ax", ax, Axes, "axes of matplotlib, or None", DataError)
        return ax
    width = min(max(5.0, 0.8 + 0.2 * n_bars), 16.0) + _inches_beside(names)
    # A figure of its own, outside pyplot: nothing global changes, and nothing has to be closed.
    return Figure(figsize=(width, 3.4), layout="constrained").subplots()


def write_names(ax: "Axes", n_names: int, **within: Any) -> None:
    """Write the names of what is drawn: a few of them within the axes, more of them beside."""
    style: dict[str, Any] = {"frameon": False, "fontsize": 8}
    if n_names > _MOST_WITHIN and ax.figure.canvas.figure.get_layout_engine() is not None:
        within = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.0}
    elif n_names > _MOST_WITHIN:  # nobody makes room beside the axes
        within = {"loc": "best", "ncols": 2}
    ax.legend(**style | within)


def points_of_a_bar(ax: "Axes", models: Sequence[Any], n_groups: int) -> float:
    """Estimate how wide a bar will be, before anything is laid out: the names take their room from the axes."""
    inches = ax.get_position().width * ax.figure.canvas.figure.get_size_inches()[0] - _inches_beside(models)
    return 72 * 0.8 * max(inches, 0.0) / (n_groups * len(models))


def _inches_beside(names: Iterable[Any]) -> float:
    lengths = [len(str(name)) for name in names]
    return min(0.5 + 0.064 * max(lengths), 4.0) if len(lengths) > _MOST_WITHIN else 0.0


def tidied(ax: "Axes") -> "Axes":
    """Take away what carries nothing, and let bars begin at zero."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.title.set_fontsize(10.5)
    if ax.patches:
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    return ax


def plain(value: float, _: object) -> str:
    """Write a number without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def title_of(metric: str) -> str:
    """Write a metric as papers do: NDCG@10, recall@20."""
    kind = metric.split("@")[0]
    return metric.replace(kind, kind.upper() if kind in ("ndcg", "map", "mrr", "auc") else kind.replace("_", " "))
