"""MovieLens 1M by the protocol of Neural Collaborative Filtering: popularity, EASE and iALS beside published rows.

Each user's last film is ranked among 99 given others that the user did not rate (He et al. 2017, section 4.1). iALS has
the settings that Rendle et al. 2021 published with "Revisiting the Performance of iALS": 192 factors, w0 0.3, λ 0.007,
ν 1, σ 0.1, 12 sweeps, each exact; their table is a mean of 10 runs. EASE's λ is the one with the best NDCG@10 on a
split of the training data by the same protocol, but with a random film held out. That split also says after how many
sweeps iALS is best when it starts from singular vectors, as `ALS` does by default: sweeps are plain again.

Where irspack is installed, it is measured on the same files, with the same settings and seeds: `jaxals[peers]`.

    JAXALS_DATA=... python experiments/reproduce/ncf_ml_1m.py
"""

import dataclasses
import importlib.util

import jax.numpy as jnp
import numpy as np
import report

import jaxals
from jaxals.datasets.published import find_published, read_ncf
from jaxals.evaluation import (
    Evaluation,
    Popularity,
    leave_k_out,
    paper_table,
    plan_negatives,
    run_plan,
    sample_negatives,
)

EASE_RIDGES = (200.0, 350.0, 500.0, 700.0, 1000.0, 1400.0, 2000.0)

options = report.parser(__doc__, seeds=10)
options.add_argument("--factors", type=int, default=192)
arguments = options.parse_args()
jaxals.use_all_cores()

split = read_ncf(find_published("ncf-ml-1m"))
plan = plan_negatives(split.train, split.test, split.negatives, ["hit_rate@10", "ndcg@10"])


def train_irspack(seed: int) -> jaxals.Factors:
    """Train what irspack calls IALSPP, the same loss, with its exact solver."""
    from irspack.recommenders.ials import IALSTrainer, LossType, SolverType

    matrix = split.train.to_scipy().astype(np.float32)
    matrix.data[:] = 1
    trainer = IALSTrainer(
        matrix,
        n_components=arguments.factors,
        alpha0=0.3,
        reg=0.007,
        nu=1.0,
        init_std=0.1,
        solver_type=SolverType.CHOLESKY,
        max_cg_steps=3,
        ialspp_subspace_dimension=64,
        loss_type=LossType.IALSPP,
        random_seed=seed,
        n_threads=2,
        prediction_time_max_cg_steps=5,
        prediction_time_ialspp_iteration=7,
    )
    for _ in range(12):
        trainer.run_epoch()
    return jaxals.Factors(jnp.asarray(trainer.core_trainer.user), jnp.asarray(trainer.core_trainer.item))


def published(hit_rate: float, ndcg: float) -> dict[str, float]:
    return {"hit_rate@10": hit_rate, "ndcg@10": ndcg}


popularity = run_plan(Popularity.from_interactions(split.train), plan)

validation = sample_negatives(split.train, leave_k_out(split.train, k=1, seed=0).test, n=99, seed=0)
validating = plan_negatives(validation.train, validation.test, validation.negatives, ["ndcg@10"])
on_validation = {
    ridge: run_plan(jaxals.EASE(ridge).fit(validation.train), validating)["ndcg@10"] for ridge in EASE_RIDGES
}
ridge = max(on_validation, key=lambda ridge: on_validation[ridge])
ease = run_plan(jaxals.EASE(ridge).fit(split.train), plan)

objective = jaxals.Objective.ials(unobserved_weight=0.3, regularization=0.007, frequency_exponent=1.0)
# As published: every sweep exact, none accelerated.
trainer = jaxals.ALS(factors=arguments.factors, sweeps=12, initial_scale=0.1, acceleration=None, start="random")


def measure(trainer: jaxals.ALS) -> list[Evaluation]:
    """Train once for each seed, and measure."""
    runs = []
    for seed in range(arguments.seeds):
        run = jaxals.fit(split.train, objective, trainer, seed=seed, progress=False, loss_every=0)
        runs.append(run_plan(run.factors, plan))
        print(f"seed {seed}: {runs[-1]}")
    return runs


runs = measure(trainer)
spectral = dataclasses.replace(trainer, start="spectral")
watched = jaxals.fit(validation.train, objective, spectral, validation=validating, progress=False).history
best = watched.loc[watched["ndcg@10"].idxmax()]
sweeps = int(best["step"])
print(watched[["step", "ndcg@10"]].to_string(index=False))
from_spectral = measure(spectral.with_steps(sweeps))

ials = published(0.7305, 0.4514)
rows = [
    report.Row("popularity", report.columns([popularity]), published(0.4535, 0.2542), "He et al.'s files"),
    report.Row(f"EASE, λ {ridge:g}", report.columns([ease]), published(0.7192, 0.4494), "λ not known"),
    report.Row(f"iALS, {arguments.factors} factors", report.columns(runs), ials, "irspack, one run on this file"),
    report.Row(f"the same from singular vectors, {sweeps} sweeps", report.columns(from_spectral), in_readme=False),
]
measured = {"popularity": popularity, "EASE": ease, "iALS": runs, "iALS from singular vectors": from_spectral}
if importlib.util.find_spec("irspack"):
    measured["irspack"] = [run_plan(train_irspack(seed), plan) for seed in range(arguments.seeds)]
    theirs = report.columns(measured["irspack"])
    rows.append(report.Row("the same by irspack", theirs, ials, "irspack, one run on this file"))
report.write(
    "ncf_ml_1m",
    "NCF ML-1M, HR@10 / NDCG@10",
    "Leave one out, ranked among 99 given negatives; a positive that is among its own negatives "
    f"({split.test.is_among(split.negatives).sum()} users) is ranked once, ties go to the lower index. The "
    f"standard error over the {plan.user.size:,} users is "
    f"{runs[-1].standard_errors['hit_rate@10']:.4f} of HR@10 and {runs[-1].standard_errors['ndcg@10']:.4f} of NDCG@10.",
    rows,
    arguments.out,
    tests=paper_table(measured, plan, reference="iALS").tests,
)
