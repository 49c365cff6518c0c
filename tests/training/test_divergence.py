import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxals
from jaxals import ALS, Factors, Gradient, Interactions, Objective, fit
from jaxals.als.stages import StepInfo
from jaxals.errors import NumericalError
from jaxals.training.divergence import require_finite_step

DATA = Interactions.from_arrays(
    [0, 0, 1, 2], [0, 1, 1, 2], [1.0, 2.0, 5.0, 1e6], catalog=jaxals.Catalog(["ann", "bob", "cem"], [10, 20, 30])
)


def after(bad_users=(), bad_items=(), loss=None) -> tuple[StepInfo, Factors]:
    user, item = np.ones((3, 2), np.float32), np.ones((3, 2), np.float32)
    user[list(bad_users)], item[list(bad_items)] = np.nan, np.inf
    count = jnp.asarray(len(bad_users) + len(bad_items), jnp.int32)
    loss = None if loss is None else jnp.asarray(loss, jnp.float32)
    return StepInfo(count, jnp.zeros((), jnp.int32), loss), Factors(jnp.asarray(user), jnp.asarray(item))


def message(objective, interactions=DATA, is_solved=True, **bad) -> str:
    info, factors = after(**bad)
    with pytest.raises(NumericalError) as caught:
        require_finite_step(info, factors, "sweep 3", objective, interactions, is_solved)
    return str(caught.value)


def test_rows_are_counted_and_named_by_raw_id():
    told = message(Objective.hkv(), bad_users=[0, 2], bad_items=[1])
    assert told.startswith("After sweep 3, 3 rows are not finite, 2 users ('ann', 'cem') and 1 items (20): ")
    assert "items" not in message(Objective.hkv(), bad_users=[0])
    assert "3 users ('ann', 'bob', 'cem')" in message(Objective.hkv(), bad_users=[0, 1, 2])


@pytest.mark.parametrize(
    ("objective", "settings", "cause"),
    [
        (
            Objective(jax.tree_util.Partial(lambda r: (-9 * r, r)), 1.0, 0.1),
            {},
            "the confidence of a value of .* below",
        ),
        (Objective.hkv(alpha=1e30), {}, r"a ridge of 0.1 is lost in float32, .* `dtype=\"float64\"`"),
        (Objective(jax.tree_util.Partial(lambda r: (2e38 * r, r)), 1.0, 0.1), {}, "their weights add up to more than"),
        (Objective.hkv(alpha=1.0), {}, "singular or overflow in float32; raise `regularization`"),
        (Objective.hkv(), {"is_solved": False}, "the steps are too long .* lower the learning rate"),
        (Objective.hkv(), {"interactions": None}, "singular or overflow in float32; raise `regularization`"),
    ],
)
def test_the_likely_cause_is_told(objective, settings, cause):
    with pytest.raises(NumericalError, match=cause):
        require_finite_step(
            *after(bad_users=[0]), "sweep 3", objective, **{"interactions": DATA, "is_solved": True, **settings}
        )


@pytest.mark.parametrize(("loss", "what"), [(np.nan, "not a number"), (np.inf, "infinite")])
def test_a_loss_that_is_not_finite_is_refused(loss, what):
    with pytest.raises(NumericalError, match=f"After sweep 3, the loss is {what}, though all rows are finite"):
        require_finite_step(*after(loss=loss), "sweep 3", Objective.hkv())
    require_finite_step(*after(loss=1.0), "sweep 3", Objective.hkv())


def test_a_gradient_that_blows_up_says_so():
    data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
    trainer = Gradient(factors=4, steps=40, report_every=20, optimizer=optax.sgd(10.0))
    with pytest.raises(NumericalError, match=r"After step 20, \d+ rows .* lower the learning rate"):
        fit(data, Objective.hkv(), trainer, progress=False)


def test_a_confidence_below_zero_is_found_in_training():
    data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
    bad = Objective(jax.tree_util.Partial(lambda r: (-1e6 * r, r)), 1.0, 0.0)
    with pytest.raises(NumericalError, match=r"After sweep 1, \d+ rows are not finite, .* lies below zero"):
        fit(data, bad, ALS(factors=4, sweeps=4), progress=False)


def test_rows_without_entries_and_losses_whose_cause_is_known():
    alone = Interactions.from_arrays([0], [0], shape=(3, 3))
    assert message(Objective.hkv(), alone, bad_users=[1]).endswith(
        "singular or overflow in float32; raise `regularization` (it is 0.1), or lower alpha."
    )
    with pytest.raises(NumericalError, match=r"^After sweep 3, the loss is inf: the penalty is not finite\.$"):
        require_finite_step(*after(loss=np.inf), "sweep 3", Objective.hkv(), why=lambda: "the penalty is not finite")
