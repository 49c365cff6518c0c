"""Gradients of a validation loss by hyperparameters. Device side.

Let T(Y, θ) be one sweep as a map of the item table, users solved on the way. At its fixed point Y = T(Y, θ) a
validation loss L(Y, θ), users solved again, has the gradient

    dL/dθ = ∂L/∂θ + wᵀ ∂T/∂θ,    w = ∂L/∂Y + (∂T/∂Y)ᵀ w

and w is the sum of ((∂T/∂Y)ᵀ)ᵏ ∂L/∂Y over k: adjoint sweeps. With Y, every rotation of it is a fixed point, so that
∂T/∂Y has the eigenvalue 1; but a loss that depends on scores alone has no slope along the rotations, nor has any of
the terms, and the sum converges as fast as the sweeps do (`docs/why/derivatives.md`).
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import require_array, require_function, require_kind, told
from jaxals._base.checks import require_at_least, require_integer, require_number
from jaxals._base.pytree import pytree
from jaxals._base.slopes import with_slope
from jaxals._base.tracing import calling
from jaxals.als.half_steps import half_step
from jaxals.als.layout.tiles import RowTiles, require_tiles
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.equations import Solver, require_solver
from jaxals.als.sweeps import sweep
from jaxals.errors import ConfigurationError, DataError
from jaxals.objective.factors import Factors, require_factors, require_shape
from jaxals.objective.objective import Objective

ValidationLoss = Callable[[Factors, Any], Array]
BuildObjective = Callable[[Any], Objective]


@dataclasses.dataclass(frozen=True)
class FoldIn:
    """Differentiate users that are solved from items which stay as they are: a strongly convex problem, one solve.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.hyper import FoldIn, hold_out, hypergradient, squared_error
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out, trainer = hold_out(split.train, split.test), jaxals.ALS(factors=4, sweeps=8)
        >>> build = lambda p: jaxals.Objective.hkv(1.0, p["ridge"])
        >>> run = jaxals.fit(split.train, build({"ridge": 1.0}), trainer, progress=False)
        >>> found = hypergradient(lambda factors, p: squared_error(factors, held_out), {"ridge": 1.0}, run.factors,
        ...                       objective=build, tiles=trainer.cut(split.train, None), method=FoldIn())
        >>> bool(jnp.isfinite(found.gradient["ridge"]))
        True
    """


@dataclasses.dataclass(frozen=True)
class Truncated:
    """Differentiate through the last sweeps, computing each of them again on the way back.

    Attributes:
        sweeps: How many sweeps from the given factors on.

    Raises:
        ConfigurationError: `sweeps` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.hyper import Truncated, hold_out, hypergradient, squared_error
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out, trainer = hold_out(split.train, split.test), jaxals.ALS(factors=4, sweeps=8)
        >>> build = lambda p: jaxals.Objective.hkv(1.0, p["ridge"])
        >>> run = jaxals.fit(split.train, build({"ridge": 1.0}), trainer, progress=False)
        >>> found = hypergradient(lambda factors, p: squared_error(factors, held_out), {"ridge": 1.0}, run.factors,
        ...                       objective=build, tiles=trainer.cut(split.train, None), method=Truncated(sweeps=2))
        >>> bool(jnp.isfinite(found.gradient["ridge"]))
        True
    """

    sweeps: int = 5

    def __post_init__(self) -> None:
        require_integer("sweeps", self.sweeps, 1)


@dataclasses.dataclass(frozen=True)
class Implicit:
    """Differentiate the fixed point that the given factors are close to, by adjoint sweeps.

    Attributes:
        sweeps: Most adjoint sweeps to take.
        tolerance: Stop when what a sweep adds is so small beside the sum.

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.hyper import Implicit, hold_out, hypergradient, squared_error
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out, trainer = hold_out(split.train, split.test), jaxals.ALS(factors=4, sweeps=8)
        >>> build = lambda p: jaxals.Objective.hkv(1.0, p["ridge"])
        >>> run = jaxals.fit(split.train, build({"ridge": 1.0}), trainer, progress=False)
        >>> found = hypergradient(lambda factors, p: squared_error(factors, held_out), {"ridge": 1.0}, run.factors,
        ...                       objective=build, tiles=trainer.cut(split.train, None), method=Implicit())
        >>> bool(jnp.isfinite(found.gradient["ridge"]))
        True
    """

    sweeps: int = 100
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        require_integer("sweeps", self.sweeps, 0)
        require_number("tolerance", self.tolerance)
        require_at_least("tolerance", self.tolerance, 0)


Method = FoldIn | Truncated | Implicit

# What adjoint sweeps sum up to says nothing where the last one still adds so much of it: they diverge, or take more.
_MOST_LAST_TERM = 0.1


@pytree
class Hypergradient:
    """A validation loss, its gradient, and how it was found.

    Attributes:
        value: The validation loss.
        gradient: Like the parameters.
        factors: The model whose loss it is.
        adjoint_sweeps: How many of them were taken; 0 but for `Implicit`.
        last_term: What the last of them added to w, beside w; 0 where the sum is exact.
        residual: |T(Y) - Y| / |Y| of the given items, 0 where nothing is assumed to be a fixed point. The scores, not
            the tables, are at rest there, but for sweeps the tables are, too.

    Example:
        >>> import jaxals
        >>> from jaxals.hyper import hold_out, hypergradient, squared_error
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out, trainer = hold_out(split.train, split.test), jaxals.ALS(factors=4, sweeps=8)
        >>> build = lambda p: jaxals.Objective.hkv(1.0, p["ridge"])
        >>> run = jaxals.fit(split.train, build({"ridge": 1.0}), trainer, progress=False)
        >>> found = hypergradient(lambda factors, p: squared_error(factors, held_out), {"ridge": 1.0}, run.factors,
        ...                       objective=build, tiles=trainer.cut(split.train, None))
        >>> sorted(found.gradient), 0 < int(found.adjoint_sweeps) <= 100  # as many as `Implicit()` takes at most
        (['ridge'], True)
    """

    value: Float[Array, ""]
    gradient: Any
    factors: Factors
    adjoint_sweeps: Int[Array, ""]
    last_term: Float[Array, ""]
    residual: Float[Array, ""]


def hypergradient(
    validation_loss: ValidationLoss,
    parameters: Any,
    factors: Factors,
    *,
    objective: BuildObjective,
    tiles: tuple[RowTiles, RowTiles],
    solver: Solver | None = None,
    method: Method | None = None,
) -> Hypergradient:
    """Differentiate a validation loss by whatever the training objective is made of.

    Args:
        validation_loss: Function of the model and the parameters, such as those of `jaxals.hyper.validation` in a
            lambda, which is compiled anew for each lambda, or in a `jax.tree_util.Partial`, whose arrays may change.
            It must depend on scores alone.
        parameters: Any pytree of floating-point arrays.
        factors: Where training has come to. `FoldIn` takes the items alone, `Truncated` goes on from here, and
            `Implicit` takes it for a fixed point.
        objective: Function from parameters to the objective of training.
        tiles: Training data with users and with items as rows; for `FoldIn`, the users' are those to be folded in.
        solver: How rows are solved, by default exactly.
        method: `Implicit()` by default.

    Returns:
        The loss and its gradient. Warns where the adjoint sweeps of `Implicit` have come to no end.

    Raises:
        ConfigurationError: `method` is none of the three, or the parameters hold something else than arrays of
            floating-point numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.hyper import hold_out, hypergradient, softmax_cross_entropy
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> tiles = jaxals.ALS(factors=4).cut(split.train, None)
        >>> objective = lambda p: jaxals.Objective.ials(p["w0"], p["ridge"])
        >>> at = {"w0": jnp.array(0.3, jnp.float32), "ridge": jnp.array(0.05, jnp.float32)}
        >>> run = jaxals.fit(split.train, objective(at), jaxals.ALS(factors=4, sweeps=40), mesh=None, progress=False)
        >>> held_out = hold_out(split.train, split.test)
        >>> loss = lambda factors, p: softmax_cross_entropy(factors, held_out, temperature=0.2)
        >>> found = hypergradient(loss, at, run.factors, objective=objective, tiles=tiles)
        >>> sorted(found.gradient), bool(found.residual < 1e-2)
        (['ridge', 'w0'], True)
    """
    method = Implicit() if method is None else method
    require_method(method)
    require_parameters(parameters)
    solver = Cholesky() if solver is None else solver
    require_problem(validation_loss, factors, objective, tiles, solver, isinstance(method, FoldIn))
    functions = as_partial(validation_loss), as_partial(objective)
    found = differentiate(*functions, parameters, factors, tiles, solver, method)
    if isinstance(method, Implicit) and not isinstance(found.last_term, jax.core.Tracer):
        _warn_of_no_fixed_point(found)
    return found


def _warn_of_no_fixed_point(found: Hypergradient) -> None:
    if float(found.last_term) <= _MOST_LAST_TERM:
        return
    warnings.warn(
        f"The gradient by `Implicit` means little: the last of {int(found.adjoint_sweeps)} adjoint sweeps added "
        f"{float(found.last_term):.2g} of their sum, at factors that a sweep moves by {float(found.residual):.2g} of "
        "their size; train on, until they rest, raise `regularization`, or take `Truncated`.",
        stacklevel=3,
    )


def as_partial(function: Callable) -> Partial:
    """Make a function an argument of compiled ones: a `Partial` of a `Partial` would hide its arrays and equality."""
    return function if isinstance(function, Partial) else Partial(function)


def require_parameters(parameters: Any) -> None:
    """Refuse a pytree with a leaf that is no floating-point number or array."""
    for leaf in jax.tree.leaves(parameters):
        is_array = isinstance(leaf, (np.ndarray, np.generic, jax.Array)) and jnp.issubdtype(leaf.dtype, jnp.floating)
        if isinstance(leaf, np.ma.MaskedArray) or not (is_array or isinstance(leaf, float)):
            raise ConfigurationError(f"`parameters` must hold floating-point numbers; got {told(leaf)}.")
    if not jax.tree.leaves(parameters):
        raise ConfigurationError(f"`parameters` must hold something to differentiate by; got {told(parameters)}.")


def require_method(method: Any) -> None:
    """Refuse what is no way to differentiate."""
    require_kind("method", method, (FoldIn, Truncated, Implicit), "`FoldIn()`, `Truncated()` or `Implicit()`")


def require_problem(
    validation_loss: Any, factors: Any, objective: Any, tiles: Any, solver: Any, folds_in: bool
) -> None:
    """Refuse what cannot be differentiated, or does not belong together.

    Raises:
        ConfigurationError: A function takes other arguments, or the solver is none.
        DataError: Tiles and factors are something else, or of other shapes.
    """
    require_factors("factors", factors)
    if not isinstance(tiles, (tuple, list)) or len(tiles) != 2:
        raise DataError(f"`tiles` must be a pair, with users and with items as rows; got {told(tiles)}.")
    for one in tiles:
        require_tiles("tiles", one)
    shape = (tiles[1].n_columns if folds_in else tiles[0].n_rows, tiles[0].n_columns)
    if shape != (tiles[1].n_columns, tiles[1].n_rows):
        raise DataError(
            f"`tiles` must be of the same interactions; got {shape[0]} x {shape[1]} and {tiles[1].n_columns} x "
            f"{tiles[1].n_rows}."
        )
    if not folds_in:
        require_shape(factors, shape)
    elif len(factors.item) != shape[1]:
        raise DataError(f"`factors` are of {len(factors.item)} items, `tiles` of {shape[1]}.")
    require_solver("solver", solver)
    require_function("objective", objective, of=["parameters"])
    require_function("validation_loss", validation_loss, of=["factors", "parameters"])


def build(objective: BuildObjective, parameters: Any) -> Objective:
    """Return the objective of parameters; traced, so that what it is is checked where it is compiled.

    Raises:
        ConfigurationError: The function returned something else.
    """
    with calling("objective"):
        made = objective(parameters)
    require_kind("objective", made, Objective, "a function that returns an `Objective`")
    return made


def _loss_of(validation_loss: Partial, factors: Factors, parameters: Any) -> Float[Array, ""]:
    with calling("validation_loss"):
        value = validation_loss(factors, parameters)
    require_array("validation_loss", value, 0, jnp.floating, "a function that returns one number")
    return value


@functools.partial(jax.jit, static_argnames=("method",))
def differentiate(
    validation_loss: Partial,
    objective: Partial,
    parameters: Any,
    factors: Factors,
    tiles: tuple[RowTiles, RowTiles],
    solver: Solver,
    method: Method,
) -> Hypergradient:
    """Do what `hypergradient` does, of arguments that have been checked, and without its warning."""
    if isinstance(method, Implicit):
        objective, parameters, factors, tiles = _once_only((objective, parameters, factors, tiles))
    settle = functools.partial(_sweep, objective, tiles, solver)
    nothing, none = jnp.zeros((), factors.item.dtype), jnp.zeros((), jnp.int32)

    if isinstance(method, Truncated):

        def after_sweeps(parameters: Any) -> tuple[Array, Factors]:
            step = jax.checkpoint(lambda factors, _: (settle(parameters, factors), None))
            last = jax.lax.scan(step, factors, length=method.sweeps)[0]
            return _loss_of(validation_loss, last, parameters), last

        (value, last), gradient = jax.value_and_grad(after_sweeps, has_aux=True)(parameters)
        return Hypergradient(value, gradient, last, none, nothing, nothing)

    def solve_users(parameters: Any, item: Array) -> Factors:
        of_users = build(objective, parameters).of("user")
        # The users that are folded in need not be those of the model.
        start, transposed = (None, None) if isinstance(method, FoldIn) else (factors.user, tiles[1])
        user, _ = half_step(tiles[0], item, of_users, solver, start, transposed=transposed)
        return Factors(user, item)

    def loss(parameters: Any, item: Array) -> tuple[Array, Factors]:
        solved = solve_users(parameters, item)
        return _loss_of(validation_loss, solved, parameters), solved

    if isinstance(method, FoldIn):
        (value, solved), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, factors.item)
        return Hypergradient(value, gradient, solved, none, nothing, nothing)

    both = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (value, solved), (gradient, slope) = both(parameters, factors.item)
    item_step = lambda parameters, item: settle(parameters, Factors(solved.user, item)).item
    swept, pull_back = jax.vjp(item_step, parameters, factors.item)

    def is_unfinished(state: tuple) -> Array:
        number, total, term = state
        return (number < method.sweeps) & (_norm(term) > method.tolerance * _norm(total))

    def adjoint_sweep(state: tuple) -> tuple:
        number, total, term = state
        term = pull_back(term)[1]
        return number + 1, total + term, term

    number, total, term = jax.lax.while_loop(is_unfinished, adjoint_sweep, (none, slope, slope))
    gradient = jax.tree.map(jnp.add, gradient, pull_back(total)[0])
    size = jnp.linalg.norm(factors.item)
    last_term = _norm(term) / jnp.maximum(_norm(total), jnp.finfo(size.dtype).tiny)
    return Hypergradient(value, gradient, solved, number, last_term, jnp.linalg.norm(swept - factors.item) / size)


def _once_only(depends: Any) -> Any:
    """Return what a fixed point depends on, and refuse to be differentiated by it."""
    refuse = lambda leaf: with_slope(leaf, leaf, _refuse)
    return jax.tree.map(refuse, depends)


def _refuse(*_: Any) -> Any:
    raise ConfigurationError(
        "The result of `Implicit()` cannot be differentiated again, for the fixed point moves with the parameters; "
        "use `Truncated(sweeps=...)` for second derivatives."
    )


def _norm(array: Array) -> Float[Array, ""]:
    """Compute the norm of an array of any size: a small one's squares may be zero in its type."""
    largest = jnp.max(jnp.abs(array))
    scale = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    return scale * jnp.linalg.norm(array / scale)


def _sweep(
    objective: Partial, tiles: tuple[RowTiles, RowTiles], solver: Solver, parameters: Any, factors: Factors
) -> Factors:
    return sweep(*tiles, factors, build(objective, parameters), solver)[0]
