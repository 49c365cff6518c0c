import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from jaxals.errors import DataError, MissingDependencyError
from jaxals.models.plots import plot_curves, plot_loss, plot_map, plot_metrics, plot_popularity, plot_spectrum, spectrum
from jaxals.objective.factors import Factors

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


def test_curves_of_a_loss_are_heights_above_the_best_and_those_of_metrics_are_not():
    runs = {"ALS": HISTORY, "gradient": HISTORY.assign(loss=[500.0, 420.0, 400.0])}
    ax = plot_curves(runs)
    np.testing.assert_allclose(np.asarray(ax.lines[1].get_ydata()), [150 / 350, 70 / 350, 50 / 350])
    np.testing.assert_allclose(np.asarray(ax.lines[0].get_ydata()), [550 / 350, np.nan])  # the best has no height
    assert ax.get_xlabel() == "seconds of training"
    assert ax.get_legend_handles_labels()[1] == ["ALS", "gradient"]
    metric = plot_curves({"ALS": HISTORY.assign(**{"ndcg@10": [0.1, 0.2, 0.3]})}, "ndcg@10", "step")
    np.testing.assert_array_equal(metric.lines[0].get_xydata(), [[1, 0.1], [2, 0.2], [3, 0.3]])
    assert (metric.get_ylabel(), metric.get_yscale()) == ("NDCG@10", "linear")
    with pytest.raises(DataError, match="history of 'ALS' has no column 'sweep'"):
        plot_curves({"ALS": HISTORY}, x="sweep")
    with pytest.raises(DataError, match="no run"):
        plot_curves({})


@pytest.mark.parametrize(("least", "is_numbered"), [(40.0, True), (2.0, False)])
def test_a_spectrum_over_many_powers_of_ten_has_no_numbers_in_between(least, is_numbered):
    ax = plot_spectrum(pd.DataFrame({"ALS": [100.0, 60.0, least], "short": [90.0, 50.0, np.nan]}))
    formatter = ax.yaxis.get_minor_formatter()
    formatter.set_axis(ax.yaxis)
    assert bool(formatter(50.0, 0)) == is_numbered


def test_popularity_has_a_group_of_bars_for_each_bucket():
    frame = pd.DataFrame(
        {
            "model": ["ALS", "ALS", "popularity", "popularity"],
            "lowest": [1, 1_000, 1, 1_000],
            "highest": [999, 5_000, 999, 5_000],
            "mean": [0.1, 0.3, 0.0, 0.2],
            "standard_error": 0.01,
        }
    )
    ax = plot_popularity(frame)
    tops = [bar.get_window_extent().transformed(ax.transData.inverted()).y1 for bar in ax.patches]
    np.testing.assert_allclose(tops, [0.1, 0.3, 0.0, 0.2], atol=1e-12)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1–999", "1,000–5,000"]
    assert ax.get_legend_handles_labels()[1] == ["ALS", "popularity"]
    with pytest.raises(DataError, match="buckets have no column 'mean'"):
        plot_popularity(frame.drop(columns="mean"))


def test_spectrum_is_that_of_the_dense_scores():
    rng = np.random.default_rng(0)
    factors = Factors(jnp.asarray(rng.normal(size=(9, 3))), jnp.asarray(rng.normal(size=(7, 3))))
    values = spectrum(factors)
    dense = np.linalg.svd(np.asarray(factors.user @ factors.item.T), compute_uv=False)
    np.testing.assert_allclose(values, dense[:3], rtol=1e-12)
    ax = plot_spectrum(pd.DataFrame({"ALS": values, "one": values / 2}))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2, 3])
    with pytest.raises(DataError, match="no column"):
        plot_spectrum(pd.DataFrame())


def test_a_map_names_the_largest_items_and_writes_no_name_over_another():
    frame = pd.DataFrame(
        {
            "x": [0.0, 0.0, 1.0],
            "y": [0.0, 0.0, 1.0],
            "name": ["small", "large", "far"],
            "size": [1, 9, 5],
            "group": [0, 1, 0],
        }
    )
    ax = plot_map(frame)
    assert sorted(text.get_text() for text in ax.texts) == ["far", "large"]
    assert [text.get_text() for text in plot_map(frame, n_names=1).texts] == ["large"]
    with pytest.raises(DataError, match="map has no column 'size'"):
        plot_map(frame.drop(columns="size"))


TEN = [f"a model of {number} factors" for number in range(10)]
WIDE = pd.DataFrame(
    [
        {"model": model, "metric": metric, "mean": 0.1 + 0.03 * place, "standard_error": 0.002}
        for place, model in enumerate(TEN)
        for metric in ("ndcg@10", "recall@10", "hit_rate@10", "map@10")
    ]
)
BUCKETS = pd.DataFrame(
    [
        {"model": model, "lowest": low, "highest": 9 * low, "mean": 0.2, "standard_error": 0.01}
        for model in TEN
        for low in (1, 10, 100, 1000)
    ]
)
DRAWN = {
    "metrics": lambda ax: plot_metrics(WIDE, ax),
    "curves": lambda ax: plot_curves(dict.fromkeys(TEN, HISTORY), ax=ax),
    "popularity": lambda ax: plot_popularity(BUCKETS, ax),
    "spectrum": lambda ax: plot_spectrum(pd.DataFrame({model: [3.0, 2.0, 1.0] for model in TEN}), ax),
}


def extents(texts):
    return [text.get_window_extent() for text in texts if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_ten_models_have_room_and_nothing_lies_on_anything(draw: Any):
    ax: Any = draw(None)
    ax.figure.draw_without_rendering()
    assert ax.get_window_extent().width > 0.6 * ax.figure.bbox.width
    names = ax.get_legend().get_window_extent()
    assert names.x0 >= ax.get_window_extent().x1
    assert names.x1 <= ax.figure.bbox.x1
    for texts in (extents(ax.texts), extents(ax.get_xticklabels())):
        assert not any(one.overlaps(other) for place, one in enumerate(texts) for other in texts[place + 1 :])
    assert len(ax.texts) == (40 if draw is DRAWN["metrics"] else 0)
    handles = ax.get_legend_handles_labels()[0]
    colours = [one.get_color() if hasattr(one, "get_color") else one.patches[0].get_facecolor() for one in handles]
    assert len(set(map(str, colours))) == 10


def test_names_stay_within_axes_that_nobody_makes_room_beside():
    ax: Any = Figure().subplots()
    plot_curves(dict.fromkeys(TEN, HISTORY), ax=ax)
    ax.figure.draw_without_rendering()
    assert ax.get_window_extent().contains(*ax.get_legend().get_window_extent().min)


def test_thin_bars_have_no_numbers_and_wide_ones_lie_flat():
    narrow = plot_metrics(WIDE, Figure(figsize=(3, 3)).subplots())
    assert len(narrow.texts) == 0
    assert {text.get_rotation() for text in plot_metrics(METRICS).texts} == {0}


def test_a_column_of_text_is_named():
    history = pd.DataFrame({"step": [1, 2], "loss": ["high", "low"]})
    with pytest.raises(DataError, match=r"must have numbers in its column 'loss'; got"):
        plot_loss(history)
