"""Seconds to train the models of a grid together, beside single fits one after another and irspack in two processes.

Last.fm 2K, 16 models (4 values of λ and 4 of α of `log`), 15 sweeps each. Single fits use all cores and are compiled
already; so is the program of all. Contenders take turns; the best of the repeats counts. Writes JSON.

    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python benchmarks/many_models.py --solver cholesky
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import time

import jax
import numpy as np
import pandas as pd

import jaxals
from jaxals._base.environment import environment
from jaxals.hyper import programs
from jaxals.training.loop import minimise

SOLVERS = {"cholesky": jaxals.Cholesky(), "cg": jaxals.ConjugateGradient(), "subspace": jaxals.Subspace(16)}


def train_irspack(task: tuple) -> None:
    """Train some models with one thread, in a process of its own."""
    from irspack.recommenders.ials import IALSTrainer, LossType, SolverType

    matrix, models, factors, sweeps, solver = task
    for alpha, regularization in models:
        weighted = matrix.copy()
        weighted.data = (alpha * np.log1p(matrix.data)).astype(np.float32)
        trainer = IALSTrainer(
            weighted,
            n_components=factors,
            alpha0=1.0,
            reg=regularization,
            nu=0.0,
            init_std=0.1,
            solver_type=getattr(SolverType, {"cholesky": "CHOLESKY", "cg": "CG", "subspace": "IALSPP"}[solver]),
            max_cg_steps=3,
            ialspp_subspace_dimension=16,
            loss_type=LossType.ORIGINAL,
            random_seed=0,
            n_threads=1,
            prediction_time_max_cg_steps=5,
            prediction_time_ialspp_iteration=7,
        )
        for _ in range(sweeps):
            trainer.run_epoch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solver", choices=[*SOLVERS], default="cholesky")
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
    arguments = parser.parse_args()
    cores = jaxals.use_all_cores()

    data = jaxals.datasets.load("lastfm-2k")
    trainer = jaxals.ALS(factors=arguments.factors, sweeps=15, solver=SOLVERS[arguments.solver])
    over = {"alpha": np.geomspace(0.5, 20, 4).tolist(), "regularization": np.geomspace(1, 100, 4).tolist()}
    mesh = jaxals.make_mesh()
    tiles = trainer.cut(data, mesh, sweeps=240)

    def together(over=over, seeds=(0,)) -> list[jaxals.Factors]:
        found = jaxals.hyper.fit_many(data, jaxals.Objective.log, trainer, space=over, seed=seeds, progress=False)
        return [found.run(number).factors for number in found.table.index]

    objectives = [
        jaxals.Objective.log(alpha=a, regularization=r) for a in over["alpha"] for r in over["regularization"]
    ]

    def fits() -> list[jaxals.Factors]:
        return [jaxals.fit(data, objective, trainer, seed=0, progress=False).factors for objective in objectives]

    def leanest_fits() -> list[jaxals.Factors]:
        models = []
        for objective in objectives:
            training = trainer.begin(data, objective, jax.random.key(0), None, mesh, tiles)
            models.append(minimise(training, objective, trainer, loss_every=15, progress=False).factors)
        return models

    contenders = {"together": together, "16 fits": fits, "16 fits, tiles shared, loss at the end": leanest_fits}
    before, start = programs.train_many._cache_size(), time.perf_counter()
    found = together()
    first = time.perf_counter() - start
    print(f"first call, with compilation: {first:.1f} s", flush=True)
    fits()  # compiles, and so does the next
    apart = leanest_fits()
    start = time.perf_counter()
    together(seeds=range(4))
    seconds_of_64 = time.perf_counter() - start
    compilations = programs.train_many._cache_size() - before

    seconds: dict[str, list[float]] = {name: [] for name in [*contenders, f"irspack, {cores} processes"]}
    matrix = data.to_scipy().astype(np.float32)
    settings = [(a, r) for a in over["alpha"] for r in over["regularization"]]
    tasks = [(matrix, settings[n::cores], arguments.factors, 15, arguments.solver) for n in range(cores)]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(train_irspack, [(*task[:3], 1, task[4]) for task in tasks], chunksize=1)  # imports
        for _ in range(arguments.repeats):
            for name, train in contenders.items():
                start = time.perf_counter()
                jax.block_until_ready(train())
                seconds[name].append(time.perf_counter() - start)
            start = time.perf_counter()
            pool.map(train_irspack, tasks, chunksize=1)
            seconds[f"irspack, {cores} processes"].append(time.perf_counter() - start)
            print({name: round(times[-1], 2) for name, times in seconds.items()}, flush=True)

    difference = lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())
    of_tables = [max(difference(a.user, b.user), difference(a.item, b.item)) for a, b in zip(found, apart, strict=True)]

    table = pd.DataFrame(
        {"contender": [*seconds], "seconds": [min(times) for times in seconds.values()], "runs": [*seconds.values()]}
    )
    table["together / this"] = table["seconds"][0] / table["seconds"]
    print(table.drop(columns="runs").to_string(index=False))
    print(f"64 models: {seconds_of_64:.2f} s; compilations of the program for 16 and 64 models: {compilations}")
    print(f"largest difference of tables, relative: {max(of_tables):.1e}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {
        "data": repr(data),
        "solver": arguments.solver,
        "factors": arguments.factors,
        **environment(),
        "rows": json.loads(table.to_json(orient="records")),
        "seconds of 64 models": seconds_of_64,
        "compilations": compilations,
        "seconds of the first call": first,
        "relative difference of the tables, by model": of_tables,
        "openblas_threads": os.environ.get("OPENBLAS_NUM_THREADS"),
    }
    file = arguments.out / f"many_models-{arguments.solver}.json"
    file.write_text(json.dumps(record, indent=2) + "\n")
    print(f"wrote {file.name}")


if __name__ == "__main__":
    main()
