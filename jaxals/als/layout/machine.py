"""What the layout and the inner loops ask of the platform that arrays live on: sizes, costs, ways to solve. Host side.

A CPU wants chunks that stay in a core's cache, and no more of them than cores; an accelerator wants few, large steps,
for each launches kernels of some microseconds. Sizes and methods differ, and results do not: any layout gives the same
rows, to rounding, on any platform. Measurements and models behind the numbers: `docs/why/accelerators.md`.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from jax.sharding import Mesh

from jaxals._base.checks import require_one_of
from jaxals._base.devices import devices_of

Platform = Literal["cpu", "gpu", "tpu"]


@dataclasses.dataclass(frozen=True)
class Machine:
    """A kind of device, as far as half steps are concerned; static.

    Attributes:
        platform: Its name.
        vector_bytes: Gathered rows of a chunk.
        least_chunk_entries: But this many entries at least.
        gram_bytes: Gram matrices that a chunk forms at a time.
        longest_row: Most entries of a row that lies whole in a chunk; longer ones are cut into steps.
        step_entries: Entries of such a step.
        in_cache: Whether vectors are read, and Gram matrices added up, a few tiles at a time, and rows of tables in
            pieces of 2 bytes: what makes a CPU fast.
        factorization: How systems are solved: "halving", our own, or "library", the platform's batched Cholesky.
        compile: What it takes to compile a class of rows, in microseconds.
        compile_unknown: And what each unknown of its systems adds.
        batch_bytes: Scores that serving and evaluation compute at a time.
        bandwidth: Bytes of memory a microsecond, where time is modelled by bytes and launches.
        launch: What a launch costs there, in microseconds.
    """

    platform: Platform
    vector_bytes: int
    least_chunk_entries: int
    gram_bytes: int
    longest_row: int
    step_entries: int
    in_cache: bool
    factorization: Literal["halving", "library"]
    compile: float
    compile_unknown: float
    batch_bytes: int
    bandwidth: float = 0.0
    launch: float = 0.0


# 2 MB of vectors stay in cache between the passes over them; systems are solved faster in batches of some size. Scores
# stay in cache until they are ranked (20,000 users, 160,000 items, 2 cores: 3.6 s; 8.4 s with 2**26, 7.5 s with 2**22).
CPU = Machine(
    "cpu",
    vector_bytes=2**21,
    least_chunk_entries=2048,
    gram_bytes=2**24,
    longest_row=2**14,
    step_entries=2**12,
    in_cache=True,
    factorization="halving",
    compile=1e6,
    compile_unknown=2e4,
    batch_bytes=2**24,
)
# Some tens of steps a half step at Last.fm's size, with temporaries of less than 3 GB. Compilation counts a fiftieth of
# what it takes on a GPU, for programs are kept between processes and sweeps are over soon; a TPU's LU takes longer.
GPU = Machine(
    "gpu",
    vector_bytes=3 * 2**28,
    least_chunk_entries=2**14,
    gram_bytes=2**30,
    longest_row=2**20,
    step_entries=2**16,
    in_cache=False,
    factorization="library",
    compile=2e4,
    compile_unknown=0.0,
    batch_bytes=2**29,
    bandwidth=3e6,
    launch=2.5,
)
# Modelled by a GPU's bandwidth: by its own, .8e6, classes are cut whose programs move more (75 instead of 40 ms for the
# items by conjugate gradient, 64 factors), for XLA keeps part of the vectors in the chip.
TPU = dataclasses.replace(GPU, platform="tpu", vector_bytes=2**27, gram_bytes=2**29, compile_unknown=2e3)

MACHINES: Mapping[str, Machine] = MappingProxyType({machine.platform: machine for machine in (CPU, GPU, TPU)})


def machine_of(platform: Any, mesh: Mesh | None = None) -> Machine:
    """Return the machine of a platform, by default of the one whose devices a mesh has.

    Args:
        platform: "cpu", "gpu" or "tpu"; None for that of the devices.
        mesh: Devices; None for the default one.

    Raises:
        ConfigurationError: There is no such platform.
    """
    if platform is None:
        # Platforms that nobody has measured (plugins of other vendors) launch kernels, too.
        return MACHINES.get(devices_of(mesh)[0].platform, GPU)
    require_one_of("platform", platform, *MACHINES)
    return MACHINES[platform]
