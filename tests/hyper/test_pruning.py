import jaxtyping
import pytest

from jaxals.errors import ConfigurationError
from jaxals.hyper import MedianPruning


def test_a_training_is_given_up_below_the_median_of_the_best_so_far():
    pruning = MedianPruning(startup_trials=3, warmup_steps=1)
    earlier = [[0.3, 0.1, 0.9], [0.2, 0.1, 0.9], [0.1, 0.1, 0.9]]  # the best by step 2: 0.3, 0.2, 0.1
    assert pruning.is_hopeless([0.0, 0.19], earlier)
    assert not pruning.is_hopeless([0.0, 0.2], earlier)
    assert not pruning.is_hopeless([0.2, 0.0], earlier)
    assert not pruning.is_hopeless([0.0], earlier)
    assert not pruning.is_hopeless([0.0, 0.0], earlier[:2])


@pytest.mark.parametrize(
    ("curve", "earlier", "message"),
    [
        ([], [[0.1]], r"`curve` must hold at least one number; got \[\]\.$"),
        ([0.1], [[0.1], []], r"`earlier` must hold at least one number; got \[\]\.$"),
        ([0.1], [[0.1], [None]], r"`earlier` must be a list of numbers; got None\.$"),
    ],
)
def test_curves_without_numbers_are_refused(curve, earlier, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        MedianPruning().is_hopeless(curve, earlier)
