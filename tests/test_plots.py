import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from jaxals.errors import DataError, MissingDependencyError
from jaxals.plots import plot_loss, plot_metrics

HISTORY = pd.DataFrame({"step": [1, 2, 3], "seconds": [0.1, 0.2, 0.3], "loss": [900.0, float("nan"), 350.0]})
METRICS = pd.DataFrame(
    {
        "model": ["ALS", "ALS", "popularity", "popularity"],
        "metric": ["ndcg@10", "hit_rate@5", "ndcg@10", "hit_rate@5"],
        "mean": [0.3, 0.5, 0.1, 0.2],
        "standard_error": [0.01, 0.02, 0.01, 0.02],
    }
)


def test_loss_is_drawn_at_the_steps_where_it_is_known():
    ax = plot_loss(HISTORY)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 900], [3, 350]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss over all user-item pairs")


def test_metrics_are_bars_by_model_from_zero_with_intervals():
    ax = plot_metrics(METRICS)
    tops = [bar.get_window_extent().transformed(ax.transData.inverted()).y1 for bar in ax.patches]
    np.testing.assert_allclose(tops, [0.3, 0.5, 0.1, 0.2])
    assert ax.get_legend_handles_labels()[1] == ["ALS", "popularity"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["NDCG@10", "hit rate@5"]
    assert ax.get_ylim()[0] == 0
    low, high = np.asarray(ax.collections[0].get_paths()[0].vertices)[:, 1]
    assert (high - low) / 2 == pytest.approx(1.96 * 0.01)


def test_given_axes_are_used_and_can_be_saved(tmp_path):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot_loss(HISTORY, left) is left
    assert plot_metrics(METRICS, right) is right
    figure.savefig(tmp_path / "both.png")
    assert (tmp_path / "both.png").stat().st_size > 1000


def test_nothing_global_changes():
    before = "matplotlib.pyplot" in sys.modules
    plot_loss(HISTORY)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(DataError, match="no loss to draw"):
        plot_loss(HISTORY.assign(loss=float("nan")))
    with pytest.raises(DataError, match="no column 'mean'"):
        plot_metrics(METRICS.drop(columns="mean"))


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jaxals\[plots\]'"):
        plot_loss(HISTORY)
