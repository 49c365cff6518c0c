# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What α, w0, ν and the logarithm do
#
# All conventions of the field are one loss with other weights: an observed pair has a Gram weight g and a target weight
# b, every pair has w0, and a row with n entries has the ridge λ (n + κ · columns)^ν. This notebook turns one knob at a
# time on Last.fm's play counts (set `JAXALS_DATA`, or they are downloaded).

# %%
import dataclasses
import os

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import jaxals
from jaxals import Objective, plots
from jaxals.evaluation import by_popularity, evaluate, random_holdout

jaxals.use_all_cores()
jaxals.training.use_compilation_cache()
plt.rcParams["axes.titlesize"] = 10.5  # as `jaxals.plots` has it
small = "JAXALS_SMALL" in os.environ  # a quick run, for tests
data = jaxals.datasets.load("lastfm-2k")
split = random_holdout(data, 0.2, seed=0)
trainer = jaxals.ALS(factors=8 if small else 32, sweeps=2 if small else 8)


def measure(objective):
    run = jaxals.fit(split.train, objective, trainer, progress=False, loss_every=0)
    return evaluate(run.factors, split.train, split.test, ["ndcg@10", "recall@10"])


# %% [markdown]
# ## How much is a play worth?
#
# Plays range over five orders of magnitude. A linear confidence lets the heaviest listeners own the model; the
# logarithm damps them; the binary one of iALS ignores how often.

# %%
plays = jnp.geomspace(1.0, 3e5, 60)
confidences = {
    "1 + α r, α = 0.01": Objective.hkv(alpha=0.01),
    "1 + α log(1 + r), α = 10": Objective.log(alpha=10.0),
    "binary (iALS, w0 = 0.1)": Objective.ials(unobserved_weight=0.1),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
left.hist(np.log10(data.value), bins=50, color="#56B4E9")
left.set(xlabel="plays of an artist by a person, log10", ylabel="pairs", title="Play counts of all 92,834 pairs")
for name, objective in confidences.items():
    right.plot(plays, objective.cells(plays)[0] / objective.unobserved_weight, label=name)
right.set(
    xscale="log",
    yscale="log",
    xlabel="plays",
    ylabel="weight against an unobserved pair",
    title="What a pair weighs by its plays",
)
right.legend(frameon=False)
plt.show()

# %% [markdown]
# ## α: observed against unobserved
#
# For each confidence there is a best α; past it, everything observed is fitted at the cost of what is not. The
# logarithm is better and less sensitive.

# %%
rows = []
grid = (0.1, 10.0) if small else (0.03, 0.3, 1.0, 3.0, 10.0, 30.0)
for alpha in grid:
    linear = Objective.hkv(alpha=alpha / 100, regularization=10.0)
    for name, objective in {"log": Objective.log(alpha=alpha, regularization=10.0), "linear, α / 100": linear}.items():
        rows.append({"confidence": name, "α": alpha, **measure(objective).metrics})
alphas = pd.DataFrame(rows)
curves = {name: rows for name, rows in alphas.groupby("confidence")}
figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
plots.plot_curves(curves, "ndcg@10", "α", ax).set(xscale="log", title="Held-out NDCG@10 by α, for two confidences")
alphas.pivot(index="α", columns="confidence", values="ndcg@10")

# %% [markdown]
# ## w0: how much silence says
#
# With the binary confidence, w0 is all the weight that unobserved pairs have. A small one lets scores of rare artists
# rise unpunished; a large one pulls everything that is rare to zero.

# %%
weights = (0.01, 0.1) if small else (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
by_weight = {w0: measure(Objective.ials(unobserved_weight=w0, regularization=0.003)) for w0 in weights}
shown = weights[:: max(len(weights) // 3, 1)]
buckets = pd.concat(
    {f"w0 = {w0}": by_popularity(by_weight[w0], split.train, k=10) for w0 in shown}, names=["model"]
).reset_index("model")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
curve = pd.DataFrame([{"w0": w0, **one.metrics} for w0, one in by_weight.items()])
plots.plot_curves({"iALS": curve}, "ndcg@10", "w0", left).set(xscale="log", title="Held-out NDCG@10")
exposed = buckets.assign(mean=buckets["exposure"], standard_error=0.0)
plots.plot_popularity(exposed, right).set(title="Which artists the recommendations name", ylabel="share of all lists")
curve

# %% [markdown]
# ## ν: who pays for the ridge
#
# ν = 0 regularises everybody alike, which leaves popular artists nearly free and holds rare ones down; ν = 1 lets the
# ridge grow with activity (Rendle et al. 2021). For each ν, λ is scaled so that the average ridge is the same.

# %%
counts = [split.train.counts(side) for side in ("user", "item")]
base = Objective.ials(unobserved_weight=0.1, regularization=0.003)
mean_ridge = lambda objective: np.mean(
    [np.mean(objective.ridge(jnp.asarray(n), m, jnp.float32)) for n, m in zip(counts, data.shape[::-1], strict=True)]
)
rows, spread = [], {}
for exponent in (0.0, 1.0) if small else (0.0, 0.25, 0.5, 0.75, 1.0):
    objective = dataclasses.replace(base, frequency_exponent=exponent)
    scale = float(mean_ridge(base) / mean_ridge(objective))
    objective = dataclasses.replace(objective, regularization=base.regularization * scale)
    measured = measure(objective)
    rows.append({"ν": exponent, **measured.metrics})
    if exponent in (0.0, 0.5, 1.0):
        spread[f"ν = {exponent}"] = by_popularity(measured, split.train, k=10)
exponents = pd.DataFrame(rows)
buckets = pd.concat(spread, names=["model"]).reset_index("model")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
plots.plot_curves({"iALS, w0 = 0.1": exponents}, "ndcg@10", "ν", left).set_title("Held-out NDCG@10")
if not small:
    left.set_ylim(0.2, 0.3)  # the standard error over users is about 0.005: closer up there is nothing to see
plots.plot_popularity(buckets, right).set_title("Recall@10 by popularity")
exponents
