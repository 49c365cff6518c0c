"""Training many models in one compiled program: each device trains models of its own, one after another. Device side.

Nothing is exchanged between devices and no step is dispatched by the host. Other forms, such as models side by side in
one wide table, were slower on a CPU: `docs/why/many-models.md`.
"""

import functools

import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from jaxals.objective.objective import Objective
from jaxals.training.program import Program, Trained


@functools.partial(jax.jit, static_argnames="mesh")
def train_many(program: Program, objectives: Objective, keys: Array, mesh: Mesh | None) -> Trained:
    """Train as many models as there are keys.

    Args:
        program: What they share; on every device of the mesh.
        objectives: Theirs, stacked: every leaf has a leading axis of one per model.
        keys: Of their initial factors, as many as there are models, a multiple of the devices.
        mesh: Devices, its one axis "models"; None for one device.

    Returns:
        The trained models, stacked likewise.
    """

    def on_one_device(program: Program, objectives: Objective, keys: Array) -> Trained:
        return jax.lax.map(lambda model: program.train(*model), (objectives, keys))

    if mesh is None:
        return on_one_device(program, objectives, keys)
    whole, parts = PartitionSpec(), PartitionSpec("models")
    # No collective in it: there is nothing for the checker of replication to see.
    spread = jax.shard_map(on_one_device, mesh=mesh, in_specs=(whole, parts, parts), out_specs=parts, check_vma=False)
    return spread(program, objectives, keys)
