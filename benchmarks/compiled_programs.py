"""What accelerators would run, read off programs that are compiled without one: launches, bytes, memory, time allowed.

Half steps of both sides, the gradient of a validation loss through one sweep, and serving, for data of Last.fm's size.
Nothing is run: times are modelled, 2.5 µs a launch and bytes at the memory's full bandwidth.

    pip install 'jaxals[compile-cuda]'
    python benchmarks/compiled_programs.py --platform cuda-h100
    pip install 'jaxals[compile-tpu]'
    python benchmarks/compiled_programs.py --platform tpu-v5e
"""

import argparse
import functools
import json
import os
import pathlib
import sys
import time
from typing import Any

os.environ |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TPU_SKIP_MDS_QUERY": "1"}
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"

import jax
import jax.numpy as jnp
import pandas as pd
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import jaxals
from benchmarks.program_text import costs
from jaxals._base.environment import environment
from jaxals.als.half_steps import half_step_with_loss
from jaxals.als.layout.machine import MACHINES
from jaxals.als.stages import Arithmetic
from jaxals.recommend.ranking import _rank_batch, _rows_at_once, rows_per_batch
from jaxals.recommend.sizes import cut

HERE = pathlib.Path(__file__).parent
# Bytes a second of the memory, as the makers say.
BANDWIDTH = {"cuda-h100": 3.35e12, "tpu-v5e": 0.82e12, "tpu-v6e": 1.64e12}
LAUNCH = 2.5e-6
# Trips of the adjoint's loop, which runs to float32's tolerance: on a CPU 6 to 8 with this objective, up to 20 with
# little regularisation.
ADJOINT_STEPS = 8
SIZES = {"lastfm-sized": (360_000, 160_000, 17_000_000), "medium": (100_000, 50_000, 4_800_000)}
CG, EXACT = jaxals.ConjugateGradient(), jaxals.Cholesky()
PROGRAMS = {
    "cg": [(CG, 64), (CG, 128), (CG, 256)],
    "cholesky": [(EXACT, 64), (EXACT, 128), (EXACT, 256)],
    "subspace": [(jaxals.Subspace(64), 512)],
}


def device_of(platform: str) -> Any:
    """Return a device that is not there."""
    if platform.startswith("cuda"):
        config = (HERE / "targets" / f"{platform}.textproto").read_text()
        described = {"topology_name": "", "target_config": config, "topology": "1x1x1"}
        return topologies.get_topology_desc(platform="cuda", **described).devices[0]
    name = f"{platform.removeprefix('tpu-')}:2x2"
    return topologies.get_topology_desc(platform="tpu", topology_name=name, chips_per_host_bounds=(2, 2, 1)).devices[0]


def measure(name: dict, lowered: Any, platform: str) -> dict:
    """Compile, and read what there is to read."""
    begin = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - begin
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError as error:  # of a newer libtpu, to an older XLA
        print(f"{name}: compiled in {seconds:.1f} s, but its text cannot be read: {str(error).splitlines()[0]}")
        return {**name, "compile s": seconds}
    if arguments.text:
        arguments.text.mkdir(parents=True, exist_ok=True)
        (arguments.text / ("-".join(map(str, name.values())) + ".txt")).write_text(text)
    found = costs(text, ADJOINT_STEPS)
    by_launches, by_bytes = found.launches * LAUNCH, found.bytes / BANDWIDTH[platform]
    row = {
        **name,
        "steps": int(found.steps),
        "launches": int(found.launches),
        "GB": found.bytes / 1e9,
        "modelled ms": 1e3 * (by_launches + by_bytes),
        "temporaries GB": compiled.memory_analysis().temp_size_in_bytes / 1e9,
        "compile s": seconds,
        "conditionals": found.conditionals,
        "uncounted loops": found.unknown_loops,
    }
    print(pd.DataFrame([{**row, "solver": row["solver"].split("(")[0]}]).round(2).to_string(index=False), flush=True)
    if arguments.kernels:
        rows = sorted(found.by_kernel.items(), key=lambda item: -item[1][1])[: arguments.kernels]
        for kind, (launches, size) in rows:
            print(f"    {size / 1e9:8.2f} GB {launches:8.0f} launches  {kind[:150]}")
    return row


def main() -> None:
    """Compile all that was asked for, print it and keep it."""
    device = device_of(arguments.platform)
    machine = MACHINES["gpu" if arguments.platform.startswith("cuda") else "tpu"]
    n_users, n_items, n_entries = SIZES[arguments.data]
    data = jaxals.datasets.synthetic(n_users=n_users, n_items=n_items, n_interactions=n_entries, seed=0)
    there = lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=SingleDeviceSharding(device))
    objective = jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), jaxals.Objective.ials(0.1, 0.01))
    rows = []

    def lower(function: Any, *inputs: Any, **static: Any) -> Any:
        return jax.jit(function, static_argnames=tuple(static)).lower(*jax.tree.map(there, inputs), **static)

    for kind in arguments.programs:
        for solver, factors in PROGRAMS.get(kind, []):
            if arguments.factors and factors not in arguments.factors:
                continue
            settings = {"factors": factors, "gram_size": solver.gram_size(factors), "platform": machine.platform}
            tiles = [jaxals.build_tiles(data, side, **settings) for side in ("user", "item")]
            tables = [jax.ShapeDtypeStruct((n, factors), jnp.float32) for n in data.shape]
            for number, side in enumerate(("user", "item")):
                step = lambda tiles, other, objective, start, solver=solver: half_step_with_loss(
                    tiles, other, objective, solver, start, Arithmetic(arguments.table_dtype)
                )[:2]
                inputs = tiles[number], tables[1 - number], objective, tables[number]
                tables_in = "" if arguments.table_dtype is None else f", tables in {arguments.table_dtype}"
                name = {"program": "half step", "solver": repr(solver), "factors": factors, "side": side + tables_in}
                rows.append(measure(name, lower(step, *inputs), arguments.platform))
            if arguments.backward and factors == 64:
                backward = lower(_slope(solver), *tiles, *tables, objective)
                name = {"program": "gradient through a sweep", "solver": repr(solver), "factors": factors, "side": ""}
                rows.append(measure(name, backward, arguments.platform))
    if "serving" in arguments.programs:
        size = rows_per_batch(n_items, 4, machine.platform)
        queries, candidates = (jax.ShapeDtypeStruct((n, 64), jnp.float32) for n in (size, n_items))
        weight, allowed = (jax.ShapeDtypeStruct((n_items,), dtype) for dtype in (jnp.float32, jnp.bool_))
        cells, with_worst = jax.ShapeDtypeStruct((64 * size,), jnp.int32), jax.ShapeDtypeStruct((), jnp.bool_)
        serve = functools.partial(_rank_batch, k=10)
        lowered = lower(serve, queries, candidates, weight, allowed, cells, cells, with_worst)
        name = {"program": f"top 10 for {size} users", "solver": "", "factors": 64, "side": ""}
        rows.append(measure(name, lowered, arguments.platform))
        n_batches = len(list(cut(20_000, _rows_at_once(n_items, 4, machine.platform))))
        print(f"{n_batches} dispatches for 20,000 users x {n_items:,} items")
    keep(rows)


def _slope(solver: jaxals.als.Solver) -> Any:
    """Return the gradient of a squared error of some pairs after a sweep by both numbers of the objective."""

    def loss(objective: Any, user_tiles: Any, item_tiles: Any, user: Any, item: Any) -> Any:
        user, _ = jaxals.half_step(user_tiles, item, objective, solver, user, transposed=item_tiles)
        item, _ = jaxals.half_step(item_tiles, user, objective, solver, item, transposed=user_tiles)
        chosen = jnp.arange(100_000) % len(item)
        return jnp.mean((1 - jnp.sum(user[:100_000] * item[chosen], axis=1)) ** 2)

    def slope(user_tiles: Any, item_tiles: Any, user: Any, item: Any, objective: Any) -> Any:
        return jax.grad(loss)(objective, user_tiles, item_tiles, user, item)

    return slope


def keep(rows: list[dict]) -> None:
    """Write all rows down, beside what they were compiled by."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "-".join(filter(None, [arguments.data, arguments.platform, arguments.table_dtype]))
    path = arguments.out / f"compiled-{name}.json"
    of = lambda row: tuple(row[key] for key in ("program", "solver", "factors", "side"))
    before = json.loads(path.read_text())["modelled"] if path.exists() else []
    rows = [row for row in before if of(row) not in set(map(of, rows))] + rows
    document = {"data": arguments.data, "platform": arguments.platform, **environment(), "modelled": rows}
    path.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", choices=[*BANDWIDTH], default="cuda-h100")
    parser.add_argument("--data", choices=[*SIZES], default="lastfm-sized")
    parser.add_argument("--programs", nargs="+", choices=[*PROGRAMS, "serving"], default=[*PROGRAMS, "serving"])
    parser.add_argument("--factors", nargs="+", type=int, help="of half steps; all by default")
    parser.add_argument("--backward", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--table-dtype", choices=["float16", "bfloat16"], help="what half steps read tables in")
    parser.add_argument("--kernels", type=int, default=0, help="print the kernels that move most")
    parser.add_argument("--text", type=pathlib.Path, help="a folder for the text of each program")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results")
    arguments = parser.parse_args()
    try:
        main()
    except (RuntimeError, ValueError) as error:
        if "not found" in str(error) or "libtpu" in str(error).lower() or "plugin" in str(error).lower():
            sys.exit(f"{arguments.platform} cannot be compiled for here: {str(error).splitlines()[0]}")
        raise
