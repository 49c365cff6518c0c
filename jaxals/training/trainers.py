"""Trainers: what `fit` drives, and alternating least squares as one of them. Host side."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxals._base.checks import require_at_least, require_integer, require_number, require_one_of
from jaxals._base.compilation import is_new
from jaxals._base.devices import devices_of
from jaxals._base.memory import require_memory
from jaxals._base.pytree import pytree
from jaxals._base.settings import settings
from jaxals.als.kernels.gram import Precision
from jaxals.als.layout.machine import machine_of
from jaxals.als.layout.row_classes import MANY_FITS, ONE_FIT
from jaxals.als.layout.tiles import RowTiles, build_tiles
from jaxals.als.momentum import Momentum, look_ahead, no_momentum, remember
from jaxals.als.parallel import shared_memory
from jaxals.als.parallel.mesh import everywhere, from_one_device, to_every_device
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.equations import Solver, first_factors, is_exact, require_solver
from jaxals.als.spectral import Start, is_random_better, multiply, spectral_factors
from jaxals.als.stages import Arithmetic, StepInfo, TableType
from jaxals.als.sweeps import initial_factors, sweep
from jaxals.als.sweeps import programs as sweep_programs
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.training.beginning import require_allowed, require_beginning, require_pair
from jaxals.training.program import ALSProgram


@dataclasses.dataclass(frozen=True)
class Training:
    """A trainer at work on its data.

    Attributes:
        start: Makes all that the first step needs, a pytree with a field `factors`. Made when asked for, so that nobody
            keeps it longer than it takes.
        step: Pure function from state, and whether the loss is wanted, to the next state and the step's info.
        n_steps: How many steps to take.
        unit: What a step is called in messages, such as "sweep".
        stride: A call of `step` goes on to the next multiple of so many steps; the last one takes what is left.
        solves_systems: Whether a step solves systems of equations, whose conditioning may be why numbers go bad.
        explain: From the state before a step that made numbers which are not finite, why that is, or None if it cannot
            be told; by default it never can.
        programs: From whether the loss is wanted of the first step, what compiles its programs: they are compiled at
            one time, before the start is made. By default each is compiled where it is called.

    Example:
        >>> import jax
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.ALS(factors=4, sweeps=3)
        >>> training = trainer.begin(data, jaxals.Objective.hkv(), jax.random.key(0), initial=None, mesh=None)
        >>> state = training.start()
        >>> for _ in range(training.n_steps):
        ...     state, info = training.step(state, True)
        >>> training.unit, state.factors.item.shape, int(info.non_finite_rows)
        ('sweep', (30, 4), 0)
    """

    start: Callable[[], Any]
    step: Callable[[Any, bool], tuple[Any, StepInfo]]
    n_steps: int
    unit: str
    stride: int = 1
    solves_systems: bool = False
    explain: Callable[[Any], str | None] | None = None
    programs: Callable[[bool], Sequence[Callable[[], Any]]] | None = None


@runtime_checkable
class Trainer(Protocol):
    """Anything that can minimise an objective step by step: a frozen dataclass of settings with `begin`.

    What a trainer has besides is asked for, and what needs it says so where it is missing:

    - `dtype`, that of its tables: "float32".
    - `with_steps(n)`, the same trainer with another number of steps, 0 among them: for `tune`, which trains as many as
      were best, and so that more of them may be asked for when a checkpoint is resumed. Without it, `tune` trains all
      steps, and a checkpoint is gone on from by as many steps as before.
    - `program(interactions)`, a `jaxals.training.Program`, for `hyper.fit_many`.
    - `layout`, what its tiles depend on, and `cut(interactions, mesh, sweeps)`, which makes what `begin` then takes as
      `tiles`: `tune` cuts once for all trainers of one layout.

    Example:
        >>> import dataclasses
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.training import Training
        >>> @dataclasses.dataclass(frozen=True)
        ... class Constant:
        ...     steps: int = 3
        ...     def begin(self, interactions, objective, key, initial, mesh):
        ...         first = initial or jaxals.initial_factors(key, *interactions.shape, 4)
        ...         def step(state, with_loss):
        ...             info = jaxals.als.StepInfo(jnp.zeros((), int), jnp.zeros((), int))
        ...             return state, info
        ...         return Training(lambda: State(first), step, self.steps, "step")
        >>> @jaxals.pytree
        ... class State:
        ...     factors: jaxals.Factors
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> len(jaxals.fit(data, jaxals.Objective.hkv(), Constant(), progress=False).history)
        3
    """

    def begin(
        self,
        interactions: Interactions,
        objective: Objective,
        key: jax.Array,
        initial: Factors | None,
        mesh: Mesh | None,
    ) -> Training:
        """Lay out the data on the devices of a mesh and draw, or take over, the first factors.

        Args:
            interactions: What to train on.
            objective: What to minimise.
            key: Of all that is random.
            initial: Tables to continue from, or None.
            mesh: Devices to share the work out over, None for one.

        Returns:
            What the loop takes steps of.
        """


@settings
class ALS:
    """Alternating least squares: every sweep solves all users and then all items.

    Attributes:
        factors: Length of the vectors that are learned.
        sweeps: How many times users and items are solved.
        solver: How a row is solved.
        acceleration: "momentum" starts each sweep further along the way of the last ones, which takes about half the
            sweeps to the same loss; None takes sweeps as they are, as papers do that state how many they took.
        start: "spectral" begins near the leading singular vectors of what the entries aim at, which takes the place of
            the first sweeps and some more (`docs/why/start.md`); "random" at random, as in papers; "auto" at random
            where entries outweigh other pairs by far, as raw play counts with a large α do, and else "spectral".
        initial_scale: σ; random factors are normal with standard deviation σ / √factors.
        dtype: "float32" or "float64" (which JAX must have been told to allow).
        table_dtype: "float16" or "bfloat16" to round the tables for the gathers alone, see `docs/performance.md`.
        precision: Of products with the gathered rows: "highest", or "high" or "default" to let an accelerator use
            faster units, such as TF32; it changes nothing on a CPU.
        chunk_bytes: Bound on the Gram matrices formed at a time, in bytes; by default what suits the device.

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=15.0), jaxals.ALS(factors=8, sweeps=5), progress=False)
        >>> run.history["step"].tolist(), bool(run.history["loss"].is_monotonic_decreasing)
        ([1, 2, 3, 4, 5], True)
    """

    factors: int = 64
    sweeps: int = 15
    solver: Solver = dataclasses.field(default_factory=Cholesky)
    acceleration: Literal["momentum"] | None = "momentum"
    start: Start = "auto"
    initial_scale: float = 0.1
    dtype: Literal["float32", "float64"] = "float32"
    table_dtype: TableType | None = None
    precision: Precision = "highest"
    chunk_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("factors", 1), ("sweeps", 0)):
            require_integer(name, getattr(self, name), least)
        if self.chunk_bytes is not None:
            require_integer("chunk_bytes", self.chunk_bytes, 1)
        require_number("initial_scale", self.initial_scale)
        require_at_least("initial_scale", self.initial_scale, 0)
        require_one_of("dtype", self.dtype, "float32", "float64")
        _ = self.arithmetic  # refuses what is unknown
        require_one_of("acceleration", self.acceleration, "momentum", None)
        require_one_of("start", self.start, "auto", "spectral", "random")
        require_solver("solver", self.solver)

    def begin(
        self,
        interactions: Interactions,
        objective: Objective,
        key: jax.Array,
        initial: Factors | None,
        mesh: Mesh | None,
        tiles: tuple[RowTiles, RowTiles] | None = None,
    ) -> Training:
        """Cut the interactions into tiles both ways and draw, or take over, the first factors.

        Args:
            interactions: What to train on.
            objective: What to minimise.
            key: Of the initial factors.
            initial: Tables to continue from, [users, factors] and [items, factors], instead of random ones.
            mesh: Devices to share the work out over, None for one.
            tiles: From `cut` for the same interactions and mesh, by a trainer of the same layout; cut anew by default.

        Returns:
            What the loop takes sweeps of.

        Raises:
            ConfigurationError: The work does not fit in memory, or the systems are singular, or JAX refuses the dtype.
            DataError: `initial` is for other users, items or factors.
        """
        require_beginning(interactions, objective, key, initial, mesh, self.factors)
        require_allowed(self.dtype)
        if tiles is not None:
            require_pair(tiles, interactions)
        self._refuse_what_cannot_work(interactions, objective, mesh)
        dtype = jnp.dtype(self.dtype)
        user_tiles, item_tiles = tiles or self.cut(interactions, mesh, is_compact=True)

        def step(state: ALSState, with_loss: bool) -> tuple[ALSState, StepInfo]:
            momentum = state.momentum
            # Where there is nothing to go by, no copies are made.
            is_moving = momentum is not None and int(momentum.streak) >= 1
            ahead = lambda: look_ahead(state.factors, momentum) if momentum and is_moving else state.factors
            # What a sweep starts from is kept by nobody else, so that its users go on the way.
            if shared_memory.share_memory(mesh):
                swept, info = shared_memory.sweep(
                    user_tiles, item_tiles, ahead(), objective, self.solver, self.arithmetic, with_loss
                )
            else:
                start = to_every_device(ahead(), mesh)
                swept, info = sweep(user_tiles, item_tiles, start, objective, self.solver, self.arithmetic, with_loss)
                swept, info = from_one_device((swept, info), mesh)
            if momentum is not None:
                momentum = remember(state.factors, swept, momentum)
            return ALSState(swept, momentum), info

        def start() -> ALSState:
            is_random = initial is not None or self._starts_at_random(interactions, objective)
            if initial is not None:
                first = jax.tree.map(lambda table: table.astype(dtype), initial)
            elif is_random:
                first = initial_factors(key, *interactions.shape, self.factors, self.initial_scale, dtype)
            else:
                is_shared = shared_memory.share_memory(mesh)
                by, seed = (shared_memory.multiply, key) if is_shared else (multiply, to_every_device(key, mesh))
                drawn = seed, self.factors, self.initial_scale, dtype
                first = spectral_factors(user_tiles, item_tiles, objective, *drawn, multiply=by)
            first = from_one_device(to_every_device(first_factors(self.solver, first), mesh), mesh)
            memory = no_momentum(first, is_exact(self.solver), is_random) if self.acceleration else None
            # A streak that lies where those of later sweeps do: else what it goes into is compiled twice.
            if memory is not None:
                streak = from_one_device(to_every_device(memory.streak, mesh), mesh)
                memory = dataclasses.replace(memory, streak=streak)
            return ALSState(first, memory)

        def programs(with_loss: bool) -> Sequence[Callable[[], Any]]:
            inputs = user_tiles, item_tiles, objective, self.solver
            if not is_new(inputs, self.arithmetic, self.factors, with_loss):
                return []
            shape = lambda rows: jax.ShapeDtypeStruct((rows, self.factors), dtype, sharding=everywhere(mesh))
            user, item = map(shape, interactions.shape)
            of_a_sweep = shared_memory.programs if shared_memory.share_memory(mesh) else sweep_programs
            return of_a_sweep(user_tiles, item_tiles, (user, item), objective, self.solver, self.arithmetic, with_loss)

        return Training(start, step, self.sweeps, "sweep", solves_systems=True, programs=programs)

    def with_steps(self, n: int) -> "ALS":
        """Return the same trainer with another number of sweeps.

        Args:
            n: How many sweeps, 0 or more.

        Returns:
            A new trainer; this one stays as it is.

        Raises:
            ConfigurationError: `n` is no integer of 0 or more.
        """
        return dataclasses.replace(self, sweeps=n)

    def program(self, interactions: Interactions) -> ALSProgram:
        """Lay out, for one device, what all models of this trainer share.

        Args:
            interactions: What to train on.

        Returns:
            What `hyper.fit_many` trains models of one layout by.

        Raises:
            ConfigurationError: JAX refuses the dtype.
        """
        require_interactions("interactions", interactions)
        require_allowed(self.dtype)
        dtype = jnp.dtype(self.dtype)
        return ALSProgram(
            *self.cut(interactions, None, MANY_FITS),
            entries=interactions.to_coo(dtype),
            solver=self.solver,
            n_sweeps=jnp.asarray(self.sweeps, jnp.int32),
            factors=self.factors,
            initial_scale=self.initial_scale,
            start=self.start,
            is_accelerated=self.acceleration is not None,
            dtype=dtype,
            arithmetic=self.arithmetic,
        )

    def cut(
        self, interactions: Interactions, mesh: Mesh | None, sweeps: int = ONE_FIT, is_compact: bool = False
    ) -> tuple[RowTiles, RowTiles]:
        """Cut the interactions into tiles, with users as rows and with items as rows.

        Trainers of one `layout` can share them.

        Args:
            interactions: What to lay out.
            mesh: Devices to share the tiles out over, from `make_mesh`; None for the default device alone.
            sweeps: How many sweeps are to be made with them, as in `build_tiles`.
            is_compact: Whether nothing is differentiated by their values, as in `build_tiles`.

        Returns:
            Tiles with users as rows, and with items as rows: what `begin`, `sweep` and `hypergradient` take.

        Raises:
            ConfigurationError: `mesh` has other axes than "rows".
        """
        settings = {"mesh": mesh, "sweeps": sweeps, "is_compact": is_compact} | self.layout
        user, item = (build_tiles(interactions, side, **settings) for side in ("user", "item"))
        return user, item

    @property
    def arithmetic(self) -> Arithmetic:
        """How half steps round."""
        return Arithmetic(self.table_dtype, self.precision)

    @property
    def layout(self) -> dict[str, Any]:
        """Settings that tiles depend on, as `build_tiles` takes them."""
        return {
            "factors": self.factors,
            "dtype": jnp.dtype(self.dtype),
            "gram_size": self.solver.gram_size(self.factors),
            "chunk_bytes": self.chunk_bytes,
        }

    def _starts_at_random(self, interactions: Interactions, objective: Objective) -> bool:
        values = lambda: jnp.asarray(interactions.value, self.dtype)
        return self.start == "random" or (self.start == "auto" and bool(is_random_better(objective, values())))

    def _refuse_what_cannot_work(self, interactions: Interactions, objective: Objective, mesh: Mesh | None) -> None:
        itemsize = np.dtype(self.dtype).itemsize
        tables = (5 if self.acceleration else 3) * sum(interactions.shape) * self.factors * itemsize
        entries = 2 * len(interactions) * (2 * 4 + itemsize)
        machine = machine_of(None, mesh)
        chunks = machine.gram_bytes if self.chunk_bytes is None else self.chunk_bytes
        if not machine.in_cache:
            grams = max(interactions.shape) * self.solver.gram_size(self.factors) ** 2 * itemsize
            chunks = (min(chunks, grams) + min(machine.vector_bytes, len(interactions) * self.factors * itemsize)) // 2
        chunks = 4 * chunks + 8 * self.factors**2 * itemsize
        # The devices of a CPU share tables, but each has chunks of its own.
        n_chunks = mesh.size if mesh is not None and shared_memory.share_memory(mesh) else 1
        require_memory(
            tables + n_chunks * chunks + entries,
            f"Training {self.factors} factors on {interactions!r}",
            "take fewer factors or a smaller dtype",
            devices_of(mesh),
        )
        active = tuple(int(np.count_nonzero(interactions.counts(side))) for side in ("user", "item"))
        unregularised = _is_zero(objective.regularization)
        if unregularised and (_is_zero(objective.unobserved_weight) or self.factors > min(active)):
            raise ConfigurationError(
                f"`regularization` is 0 and the systems are singular: {self.factors} factors, {active} users and items "
                f"with interactions, unobserved_weight {objective.unobserved_weight}; take a `regularization` above 0."
            )


@pytree
class ALSState:
    """What the next sweep needs.

    Attributes:
        factors: Both tables.
        momentum: What an accelerated sweep remembers; None without acceleration.
    """

    factors: Factors
    momentum: Momentum | None


def _is_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == 0
