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
# # ALS that can be differentiated
#
# Every row that ALS solves is a smooth function of what went into it: the plays, the other table, α, w0, λ. So a model
# can be asked what one play more would change, and hyperparameters can follow a gradient. This notebook does both on
# Last.fm's play counts (set `JAXALS_DATA`, or they are downloaded), and ends with a grid of models in one program.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxals
from jaxals.evaluation import plan_evaluation, random_holdout, run_plan
from jaxals.hyper import Truncated, fit_many, hold_out, number_entries, smooth_ndcg, tune_by_gradient, with_values

jaxals.use_all_cores()
jaxals.training.use_compilation_cache()
plt.rcParams["axes.titlesize"] = 10.5  # as `jaxals.plots` has it
small = "JAXALS_SMALL" in os.environ  # a quick run, for tests
data = jaxals.datasets.load("lastfm-2k")
objective = jaxals.Objective.log(alpha=1.0, regularization=30.0)
trainer = jaxals.ALS(factors=8 if small else 32, sweeps=3 if small else 15)
run = jaxals.fit(data, objective, trainer, progress=False)

# %% [markdown]
# ## What would one play more change?
#
# One listener is laid out alone. `number_entries` cuts tiles once, `with_values` puts plays into them as an array, and
# `half_step` solves the listener's row from the artists: the scores are a function of the plays, and `jax.jacobian`
# gives all their derivatives. Below, plays · derivative / 100: what one per cent more plays of an artist adds.

# %%
listener = 39
mine = data.user == listener
artists, plays = data.item[mine], jnp.asarray(data.value[mine], jnp.float32)
alone = jaxals.Interactions.from_arrays(np.zeros(len(artists), int), artists, shape=(1, data.n_items))
numbered = number_entries(alone, factors=trainer.factors)
recommended = jaxals.Recommender(run.factors, data, objective).recommend(data.catalog.users[listener], n=6)["item"]
asked = jnp.asarray(data.catalog.item_indices(recommended))


@jax.jit
def scores(plays):
    row, _ = jaxals.half_step(with_values(numbered, plays), run.factors.item, objective, jaxals.Cholesky())
    return jnp.matmul(run.factors.item[asked], row[0], precision="highest")


slope = jax.jit(jax.jacobian(scores))(plays) * plays / 100
order = np.argsort(-np.abs(np.asarray(slope)).max(axis=0))[:12]
shown = np.asarray(slope)[:, order]
figure, ax = plt.subplots(figsize=(10, 4.2), layout="constrained")
limit = np.abs(shown).max()
image = ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
names = data.catalog.items[artists]
ax.set_xticks(range(len(order)), [f"{names[i]} ({int(plays[i]):,})" for i in order], rotation=40, ha="right")
ax.set_yticks(range(len(recommended)), recommended)
ax.set_title("What each per cent more plays of an artist (below, with plays) adds to a recommended artist's score")
figure.colorbar(image)
plt.show()

# %% [markdown]
# Is that right? Solved again with twice the plays of each artist in turn, scores change about as the derivative says;
# the logarithm in the confidence bends the rest.

# %%
doubled = jnp.stack([scores(plays.at[i].multiply(2)) - scores(plays) for i in order], axis=1)
figure, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
ax.axline((0, 0), slope=1, color="0.7", linewidth=1)
ax.plot((shown * 100 * np.log(2)).ravel(), np.asarray(doubled).ravel(), "o", markersize=4, alpha=0.7)
ax.set(xlabel="derivative by log plays · log 2", ylabel="change when solved again", title="Twice the plays")
plt.show()

# %% [markdown]
# ## Hyperparameters that follow a gradient
#
# Ten: α, w0, and λ for four buckets of listeners by activity and of artists by popularity. `tune_by_gradient`
# takes a sweep, differentiates a smooth NDCG of held-out artists through two more, and moves the logarithms of all ten
# by one step of Adam. The artists of the test are held out of everything.

# %%
outer = random_holdout(data, 0.2, seed=0)
inner = random_holdout(outer.train, 0.2, seed=1)
validation, test = (plan_evaluation(inner.train, part.test, ["ndcg@20"]) for part in (inner, outer))
quarter = lambda counts: jnp.asarray(np.argsort(np.argsort(counts, kind="stable")) * 4 // len(counts))
bucket = {side: quarter(inner.train.counts(side)) for side in ("user", "item")}


def build(p):
    ridge = jaxals.Sides(user=p["user"][bucket["user"]], item=p["item"][bucket["item"]])
    return jaxals.Objective(jaxals.LogConfidence(p["alpha"], 1.0), p["w0"], ridge)


def measure(factors):
    plans = {"validation": validation, "test": test}
    return {name: run_plan(factors, plan).metrics["ndcg@20"] for name, plan in plans.items()}


some = hold_out(inner.train, inner.test.select(inner.test.user % 4 == 0))  # a quarter of the listeners is slope enough
start = {"alpha": 1.0, "w0": 0.1, "user": jnp.full(4, 3.0), "item": jnp.full(4, 3.0)}
steps = 3 if small else 30
found = tune_by_gradient(
    lambda factors, _: smooth_ndcg(factors, some, temperature=0.05),
    start,
    jaxals.initial_factors(jax.random.key(0), *data.shape, trainer.factors),
    objective=build,
    tiles=trainer.cut(inner.train, None, sweeps=100),
    method=Truncated(2),
    optimizer=optax.adam(optax.cosine_decay_schedule(0.15, steps, 0.1)),
    steps=steps,
    sweeps=1,
    measure=measure,
    progress=False,
)
history = found.history
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
left.plot(history["step"], history["validation"], label="validation, which chooses")
left.plot(history["step"], history["test"], label="test, which nobody looks at")
left.set(xlabel="step", ylabel="NDCG@20", title="Ten hyperparameters at once")
left.legend(frameon=False)
for side, marker in (("user", "o"), ("item", "s")):
    right.plot(range(1, 5), found.parameters[side], marker=marker, label={"user": "listeners", "item": "artists"}[side])
right.axhline(3.0, color="0.7", linewidth=1)
right.annotate("where all began", (2.5, 3.0), ha="center", va="top", color="0.4")
right.set(yscale="log", xlabel="quarter, least active or popular first", ylabel="λ", title="The ridge that was found")
right.set_xticks(range(1, 5))
right.legend(frameon=False)
plt.show()
best = history.loc[[found.best_step - 1], ["step", "validation", "test"]]
best.assign(**{"α": float(found.parameters["alpha"]), "w0": float(found.parameters["w0"])})

# %% [markdown]
# ## A grid in one program
#
# Where two numbers are all there is to choose, nothing beats looking. `jaxals.hyper.fit_many` trains a whole grid in
# one compiled program, each core its own models.

# %%
values = ([0.3, 3.0], [3.0, 30.0]) if small else ([0.1, 0.3, 1.0, 3.0, 10.0], [1.0, 3.0, 10.0, 30.0, 100.0])
over = dict(zip(("alpha", "regularization"), values, strict=True))
grid = fit_many(inner.train, jaxals.Objective.log, trainer, space=over, validation=validation, progress=False)
square = grid.table.pivot(index="regularization", columns="alpha", values="ndcg@20")
figure, ax = plt.subplots(figsize=(5.6, 4.2), layout="constrained")
image = ax.imshow(square, origin="lower", cmap="viridis")
ax.set_xticks(range(len(square.columns)), [f"{value:g}" for value in square.columns])
ax.set_yticks(range(len(square.index)), [f"{value:g}" for value in square.index])
for (row, column), value in np.ndenumerate(square.to_numpy()):
    shade = "white" if value < np.median(square) else "black"
    ax.text(column, row, f"{value:.3f}", ha="center", va="center", color=shade)
ax.set(xlabel="α", ylabel="λ", title=f"NDCG@20 on validation, {len(grid.table)} models")
figure.colorbar(image)
plt.show()
