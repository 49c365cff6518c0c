import functools
import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxals
from jaxals.errors import ConfigurationError, NumericalError

DATA = jaxals.datasets.synthetic(n_users=12, n_items=8, n_interactions=48, n_groups=2, seed=0)
ITEMS = jnp.ones((8, 2), jnp.float32)


def walk(share: int) -> None:
    command = [sys.executable, "-m", "tests.walk", str(share)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
    assert " 0 foreign errors, 0 other faults" in done.stdout


def test_some_of_all_wrong_arguments_end_in_a_sentence_of_ours():
    walk(240)


@pytest.mark.slow
def test_all_wrong_arguments_end_in_a_sentence_of_ours():
    walk(1)


# What is called, with what is above and below at hand, and what is said.
SAID = {
    "jaxals.Objective(lambda r: (r, r))": "`confidence` must be a pytree.*got the function <lambda>",
    "jaxals.Objective(jaxals.LinearConfidence)": "`confidence` must be.*got the class LinearConfidence",
    "jaxals.Objective(Own())": "`confidence` must be a pytree.*got an Own",
    "jaxals.Objective(None)": "`confidence` must be.*got None",
    "weights(lambda r: r)": r"`confidence` must return two arrays of the values' shape.* made float32\[3\]",
    "weights(lambda r: (r, r, r))": "`confidence` must return two arrays.* made 3 of shapes",
    "weights(lambda r: (r, 1.0))": r"`confidence` must return two arrays.* made 2 of shapes \[\(3,\), \(\)\]",
    "weights(lambda r: None)": "`confidence` must return two arrays.* made None",
    "jaxals.ALS(solver=lambda equations: equations)": "`solver` must be a solver such as.*got the function <lambda>",
    "jaxals.ALS(solver=OwnSolver())": "`solver` must be a pytree; decorate the class OwnSolver with `jaxals.pytree`",
    "jaxals.ALS(solver='cg')": "`solver` must be a solver such as `Cholesky\\(\\)`; got 'cg'",
    "jaxals.half_step(TILES, ITEMS, jaxals.Objective.ials(), 'cg')": "`solver` must be a solver",
    "jaxals.half_step(TILES, ITEMS, 'ials', jaxals.Cholesky())": "`objective` must be an `Objective`",
    "fit(callbacks=print)": "`callbacks` must be a list of functions of a `Progress`; got the function print",
    "fit(callbacks=[lambda: None])": "`callbacks` must be a function of progress; .*<lambda> takes other arguments",
    "fit(early_stopping='loss')": "`early_stopping` must be an `EarlyStopping` or None; got 'loss'",
    "fit(objective=jaxals.Objective.hkv(jnp.ones(3)))": r"`alpha` must be one number; got float64\[3\]",
    "fit(trainer=gradient(observed_loss=lambda value, score: jnp.sum(score)))": "`observed_loss` must return one",
    "fit(trainer=gradient(penalty=lambda factors: factors.user))": "`penalty` must be a function that",
    "jaxals.SearchSpace.preset('ials', solver='cg')": "`solver` must be a solver",
    "jaxals.SearchSpace.preset('ials', factors=jaxals.Choice((8, 2.5)))": "`factors` must be an integer >= 1; got 2.5",
    "jaxals.SearchSpace.preset('ials', regularization=-1.0)": "`regularization` must be >= 0; got -1.0",
    "jaxals.pytree(type('Own', (), {'alpha': 1.0}))": "`alpha` of the class Own must",
    "jaxals.pytree(type('Own', (), {'alpha': jaxals.static(default=1.0)}))": "`alpha` of the class Own must",
    "jaxals.pytree(int)": "`cls` must be a class of your own; got the class int",
    "evaluate(object())": "`scorer` must have a method `scores",
    "evaluate(Ints())": r"`scores\(users\)` .*Ints must return .* floating-point scores; got an array of int32",
    "jaxals.evaluation.leave_k_out(DATA, seed=-1)": "`seed` must be an integer >= 0; got -1",
    "jaxals.evaluation.random_holdout(DATA, seed=None)": "`seed` must be an integer >= 0; got None",
    "RECOMMENDER.recommend(3, n=5.0)": "`n` must be an integer >= 1; got 5.0",
    "RECOMMENDER.recommend(np.arange(5) > 2)": r"`users` must be a mask of 12 flags, one for each id; got bool\[5\]",
    "RECOMMENDER.recommend(3, frame='arrow')": '`frame` must be "pandas", "polars" or "pyarrow"; got \'arrow\'',
    "jaxals.plots.plot_loss(Polars())": "`history` must be a DataFrame; got a Polars",
    "RECOMMENDER.fold_in(DATA.to_scipy())": "`interactions` is a csr_matrix; pass `Interactions.from_scipy",
    "jaxals.Interactions.from_frame(DATA.to_scipy())": "The data must be a DataFrame.*got a csr_matrix of",
    "jaxals.Interactions.from_frame({'user': [1]})": "The data has no column 'item'",
    "jaxals.Interactions.from_frame(Polars())": "The data must be a DataFrame.*or a table of polars.*; got a Polars",
    "jaxals.sklearn.ALSRecommender(solver='cg').fit(DATA.to_scipy())": "`solver` must be a solver.*got 'cg'",
    "jaxals.sklearn.ALSRecommender(factors='8').fit(DATA.to_scipy())": "`factors` must be an integer.*got '8'",
    "jaxals.sklearn.ALSRecommender().fit(DATA.to_frame())": "`X` must be a matrix.*Interactions.from_frame",
    "jaxals.exports.save_npz(True, RECOMMENDER.factors, DATA.catalog)": "`path` must be a path.*got True",
}


class Own:
    def __call__(self, value):
        return value, value


class OwnSolver:
    def gram_size(self, factors):
        return factors

    def solve(self, equations):
        return equations.start, jnp.zeros(len(equations.start), bool)


class Polars:
    def to_pandas(self):
        return DATA.to_frame()


class Ints:
    def scores(self, users):
        return jnp.zeros((len(users), 8), jnp.int32)


jax.tree_util.register_static(Ints)
TILES = jaxals.build_tiles(DATA, factors=2)
OBJECTIVE = jaxals.Objective.hkv(1.0, 1.0)
RECOMMENDER = jaxals.Recommender(jaxals.Factors(jnp.ones((12, 2), jnp.float32), ITEMS), DATA, OBJECTIVE)
gradient = functools.partial(jaxals.Gradient, factors=2, steps=2, report_every=1, optimizer=optax.sgd(0.01))


def weights(function):
    return jaxals.Objective(jax.tree_util.Partial(function)).weights(jnp.ones(3, jnp.float32))


def fit(objective=OBJECTIVE, trainer=None, **settings):
    trainer = trainer or jaxals.ALS(factors=2, sweeps=3)
    return jaxals.fit(DATA, objective, trainer, mesh=None, progress=False, **settings)


def evaluate(scorer):
    return jaxals.evaluation.evaluate(scorer, DATA, DATA, exclude=None)


@functools.cache
def what_is_said() -> dict[str, str]:
    """Call each where no annotation is checked, as users do: the type of the error and its message."""
    program = (
        "import json, jax; jax.config.update('jax_enable_x64', True)\n"
        "from tests import test_wrong_arguments as here\n"
        "def said(call):\n"
        "    try:\n"
        "        return repr(eval(call, vars(here)))\n"
        "    except Exception as error:\n"
        "        return f'{type(error).__module__}: {error}'\n"
        "print(json.dumps({call: said(call) for call in here.SAID}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5_000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", SAID)
def test_wrong_arguments_are_named(call):
    assert re.fullmatch(f"jaxals.errors: {SAID[call]}.*", what_is_said()[call]), what_is_said()[call]
    assert what_is_said()[call].endswith(".")


def test_only_true_ends_training():
    for answer, rows in ((5, 3), ("written", 3), (False, 3), (None, 3), (True, 1), (np.True_, 1), (jnp.array(True), 1)):
        run = fit(callbacks=[lambda _, answer=answer: answer])
        assert len(run.history) == rows, answer


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"penalty": lambda factors: jnp.sum(factors.user) * jnp.nan}, "the value of `penalty` is not finite"),
        ({"penalty": lambda factors: jnp.sqrt(jnp.sum(0 * factors.user))}, "the gradient of `penalty` is not finite"),
        ({"observed_loss": lambda value, score: jnp.sqrt(0 * score)}, "the gradient of `observed_loss` is not finite"),
    ],
)
def test_functions_that_are_not_finite_are_named_and_not_the_learning_rate(functions, message):
    with pytest.raises(NumericalError, match=message):
        fit(trainer=gradient(**functions))


def test_too_long_steps_are_still_blamed_on_the_learning_rate():
    trainer = gradient(steps=60, optimizer=optax.sgd(10.0), report_every=60)
    with pytest.raises(NumericalError, match="lower the learning rate"):
        fit(trainer=trainer)


def test_options_of_numpy_are_those_of_python():
    for options in (tuple(np.arange(2, 4)), tuple(jnp.arange(2, 4)), (np.int8(2), np.uint64(3))):
        assert json.dumps(jaxals.Choice(options).options) == "[2, 3]", options


def test_ids_come_as_whatever_holds_them():
    wanted = RECOMMENDER.recommend([0, 3], n=2)
    mask = np.isin(np.arange(12), [0, 3])
    for users in ((0, 3), {0, 3}, frozenset((0, 3)), mask, np.array([0, 3]), jnp.array([0, 3]), iter([0, 3])):
        assert RECOMMENDER.recommend(users, n=2).equals(wanted)
    catalog = jaxals.Catalog([("a", row) for row in range(12)], range(8))
    of_tuples = jaxals.Recommender(RECOMMENDER.factors, jaxals.Interactions.from_scipy(DATA.to_scipy(), catalog.users))
    assert len(of_tuples.recommend(("a", 3), n=2)) == 2


def test_class_constants_need_no_annotation_where_nobody_takes_them_for_fields():
    @jaxals.pytree
    class Plain:
        alpha: float = 1.0
        is_exact = True
        kind = "plain"

    assert jax.tree.leaves(Plain()) == [1.0]


def test_a_platform_without_a_plugin_is_named(monkeypatch):
    program = (
        "import jaxals\n"
        "data = jaxals.Interactions.from_arrays([0], [0])\n"
        "try:\n"
        "    jaxals.fit(data, jaxals.Objective.hkv(), jaxals.ALS(factors=1, sweeps=1))\n"
        "except jaxals.errors.ConfigurationError as error:\n"
        "    print(error)\n"
    )
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert re.fullmatch(r"JAX cannot use the platforms 'cuda' that `JAX_PLATFORMS` .* names: .*\.\n", done.stdout)


def test_numbers_past_all_floats_are_refused():
    with pytest.raises(ConfigurationError, match="`alpha` must be finite; got an integer of 3322 bits"):
        jaxals.LinearConfidence(10**1000)
