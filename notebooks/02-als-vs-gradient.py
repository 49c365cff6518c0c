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
# # One loss, two ways down
#
# Alternating least squares solves each side exactly while the other is held fixed; a gradient moves both a little. In
# `jaxals` both minimise the same `Objective`, exactly over all pairs, so their losses can be compared number by number.
# The data are Last.fm's play counts again (set `JAXALS_DATA`, or they are downloaded). The measured comparison over
# several data sets is on the page `docs/experiments/als-vs-gradient.md`.

# %%
import os
import re

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd

import jaxals
from jaxals import plots
from jaxals.evaluation import by_popularity, evaluate, random_holdout

jaxals.use_all_cores()
jaxals.training.use_compilation_cache()
plt.rcParams["axes.titlesize"] = 10.5  # as `jaxals.plots` has it
small = "JAXALS_SMALL" in os.environ  # a quick run, for tests
factors, steps = (8, 20) if small else (32, 150)
split = random_holdout(jaxals.datasets.load("lastfm-2k"), 0.2, seed=0)
objective = jaxals.Objective.log(alpha=1.0, regularization=30.0)  # α and λ chosen on validation interactions


def fit(trainer):
    return jaxals.fit(split.train, objective, trainer, seed=0, progress=False)


# %% [markdown]
# ## Exact gradients
#
# The sum over all 33 million pairs is w0 tr(XᵀX YᵀY), so that a gradient costs no more than a pass over the 74,000
# entries. L-BFGS has a line search and nothing to tune; the others have a learning rate, chosen on validation
# interactions by the experiment behind that page. Its seconds are measurements; those below are whatever this run took,
# beside other programs.

# %%
every = max(steps // 15, 1)
decayed = optax.cosine_decay_schedule(0.1, steps, 0.02)
gentle = optax.cosine_decay_schedule(0.03, steps, 0.02)
runs = {
    "ALS": fit(jaxals.ALS(factors, sweeps=4 if small else 20)),
    "L-BFGS": fit(jaxals.Gradient(factors, steps, optax.lbfgs(), report_every=every)),
    "Adam": fit(jaxals.Gradient(factors, steps, optax.adam(decayed), report_every=every)),
    "Adagrad": fit(jaxals.Gradient(factors, steps, optax.adagrad(0.03), report_every=every)),
    "Adam, alternating": fit(
        jaxals.Gradient(factors, steps, optax.adam(gentle), jaxals.Alternating(), report_every=every)
    ),
}
figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
curves = {name: run.history for name, run in runs.items()}
plots.plot_curves(curves, ax=ax).set_title("Loss over seconds of training, without those of compiling")
pd.Series({name: run.history["loss"].iloc[-1] for name, run in runs.items()}, name="last loss").to_frame()

# %% [markdown]
# Where alternating least squares ends, the gradient is nearly zero: its normal equations set it to zero.

# %%
entries = split.train.to_coo()
gradient = jax.grad(lambda factors: objective.loss(factors, entries))
start = jaxals.initial_factors(jax.random.key(0), *split.train.shape, factors)
pd.Series(
    {
        name: float(optax.tree.norm(gradient(at)))
        for name, at in {"at the start": start, **{name: run.factors for name, run in runs.items()}}.items()
    },
    name="norm of the gradient",
).to_frame()

# %% [markdown]
# ## Batches of users, and sampled negatives
#
# A batch of users with all of their pairs gives a gradient that is exact on average. Drawing a few items per entry
# instead, as most of the literature does, does not: active users count more, and the weights have to be guessed.
# Both take the same number of steps here; the loss that is drawn is the exact one for both.

# %%
n_small = 40 if small else 60 * 8
rate = optax.cosine_decay_schedule(0.03, n_small, 0.02)
batches = {"all pairs of a user": jaxals.UserBatches(256), "4 sampled items an entry": jaxals.SampledNegatives(256)}
small_runs = {
    name: fit(jaxals.Gradient(factors, n_small, optax.adam(rate), batch, report_every=n_small // 20))
    for name, batch in batches.items()
}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
histories = {name: run.history for name, run in small_runs.items()}
plots.plot_curves(histories, "loss", "step", left).set_title("The exact loss, trained on two estimates of its gradient")
found = {
    name: by_popularity(evaluate(run.factors, split.train, split.test, ["recall@10"]), split.train, k=10)
    for name, run in {"ALS": runs["ALS"], **small_runs}.items()
}
buckets = pd.concat(found, names=["model"]).reset_index("model")
plots.plot_popularity(buckets, right).set_title("Recall@10 by popularity")
plt.show()

# %% [markdown]
# ## What a gradient is for: your own terms
#
# A penalty is a function of both tables. Here one makes the artists' vectors sparse, so that each factor is about few
# artists; ALS has no closed form for it.

# %%
sparse = fit(
    jaxals.Gradient(factors, steps, optax.adam(decayed), penalty=lambda factors: 12.0 * jnp.sum(jnp.abs(factors.item)))
)
share = lambda run: float(np.mean(np.abs(np.asarray(run.factors.item)) < 1e-2))
spectra = pd.DataFrame({"ALS": plots.spectrum(runs["ALS"].factors), "with the penalty": plots.spectrum(sparse.factors)})
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
plots.plot_spectrum(spectra, ax).set_title("How much each factor carries")
pd.Series(
    {"ALS": share(runs["ALS"]), "Adam": share(runs["Adam"]), "with the penalty": share(sparse)},
    name="share of item numbers below 0.01",
).to_frame()

# %% [markdown]
# Side terms know more than the entries. Some artists' names say that they belong together ("Nick Jonas & The
# Administration", "Nick Jonas"); each such pair may pull the other's vector. A fifth of these artists have no listener
# in the training set, so that ALS leaves them at zero: the side term places them beside their stars.

# %%
place = {name: index for index, name in enumerate(split.train.catalog.items)}
parts = re.compile(r" (?:feat\.?|ft\.?|&|and|vs\.?|with) ", re.IGNORECASE)
pairs = [
    (index, place[star])
    for name, index in place.items()
    for star in parts.split(name)
    if star != name and star in place
]
joint, star = np.array(pairs).T
together = fit(
    jaxals.Gradient(
        factors,
        steps,
        optax.adam(decayed),
        penalty=lambda factors: 100.0 * jnp.sum((factors.item[joint] - factors.item[star]) ** 2),
    )
)


def cosines(run):
    one, other = (np.asarray(run.factors.item)[index] for index in (joint, star))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.sum(one * other, axis=1) / np.maximum(norms, 1e-9)


figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
bins = np.linspace(-1, 1, 41)
ax.hist(cosines(runs["Adam"]), bins, alpha=0.7, color="#999999", label="without")
ax.hist(cosines(together), bins, alpha=0.7, color="#0072B2", label="with the side term")
ax.set(xlabel="cosine of two artists' vectors", ylabel="pairs of artists", title="Artists whose names belong together")
ax.legend(frameon=False)
print(f"{len(pairs)} pairs, {np.mean(split.train.counts('item')[joint] == 0):.0%} of the first have no listener.")

# %% [markdown]
# And another link: a logistic loss on what was played instead of a squared one, everything else as before. It finds a
# little more, on one seed; neither its weight nor its slope was tuned.

# %%
logistic = lambda value, score: (1 + jnp.log1p(value)) * jnp.logaddexp(0.0, -4.0 * (score - 0.5))
linked = fit(jaxals.Gradient(factors, steps, optax.adam(decayed), observed_loss=logistic))
models = {"squared (ALS)": runs["ALS"], "logistic (Adam)": linked}
pd.DataFrame(
    {
        name: evaluate(run.factors, split.train, split.test, ["ndcg@10", "recall@20"]).metrics
        for name, run in models.items()
    }
).T
