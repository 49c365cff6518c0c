import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import Checkpoint, EarlyStopping, Factors
from jaxals.errors import ConfigurationError
from jaxals.evaluation.plans import parse_metrics
from jaxals.training.state import UNCONVERGED, Position, Watch, history_frame


def tables(number: float) -> Factors:
    return Factors(jnp.full((2, 1), number), jnp.full((3, 1), number))


def watched(values, settings: EarlyStopping) -> list[Watch]:
    watches = [Watch(settings, tables(-1.0))]
    for number, value in enumerate(values):
        watches.append(watches[-1].after({settings.monitor: value}, tables(float(number))))
    return watches


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [("loss", [5.0, 3.0, 4.0], 1), ("ndcg@10", [0.1, 0.3, 0.2], 1), ("gini@5", [2, 3], 0)],
)
def test_the_best_is_remembered_whichever_way_is_better(monitor, values, best):
    last = watched(values, EarlyStopping(monitor, patience=9))[-1]
    assert (last.top, float(last.factors.user[0, 0])) == (values[best], best)


def test_small_gains_count_for_the_best_and_not_for_patience():
    watches = watched([100.0, 99.0, 98.5, 98.4], EarlyStopping("loss", min_improvement=0.012, patience=2))
    assert [watch.since_best for watch in watches] == [0, 0, 1, 0, 1]
    assert [watch.has_settled for watch in watched([1.0, 1.0, 1.0], EarlyStopping("loss", patience=2))] == [
        *(False, False, False, True),
    ]
    assert watches[-1].top == 98.4


def test_a_position_leaves_the_one_before_as_it_was():
    class State:
        factors = tables(1.0)

    before = Position(State())
    after = before.after(State(), 3, {"step": 3, "seconds": 0.5, "compile_seconds": 0.25, "loss": 2.0})
    assert (before.step, before.records, after.step, after.seconds) == (0, (), 3, 0.5)
    assert after.factors is State.factors


def test_a_history_tells_of_unconverged_rows_only_where_there_are_some():
    record = {"step": 1, "seconds": 0.5, "loss": np.nan, UNCONVERGED: 0}
    assert list(history_frame([record], ["step", "seconds", "loss"]).columns) == ["step", "seconds", "loss"]
    assert list(history_frame([], ["step", "seconds"]).columns) == ["step", "seconds"]
    records = [record, {**record, UNCONVERGED: 2}]
    assert history_frame(records, ["step", "seconds", "loss"])[UNCONVERGED].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: EarlyStopping("ndgc"),
            r"`monitor` is 'ndgc', no metric \(did you mean 'ndcg@10'\?\); known are 'loss'",
        ),
        (lambda: EarlyStopping("NDCG@5"), r"did you mean 'ndcg@5'"),
        (lambda: EarlyStopping("los"), r"did you mean 'loss'"),
        (lambda: Checkpoint("runs", best="recal@20"), r"`best` is 'recal@20', no metric \(did you mean 'recall@20'"),
        (lambda: parse_metrics("ndgc@10"), r"no metric 'ndgc@10' \(did you mean 'ndcg@10'\?\); known"),
        (lambda: EarlyStopping("zzz"), r"`monitor` is 'zzz', no metric; known"),
    ],
)
def test_an_unknown_metric_is_refused_at_once_with_the_nearest(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()
