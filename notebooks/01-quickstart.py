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
# # Quick start: what 1,892 people listen to
#
# Last.fm play counts of the HetRec 2011 workshop: 1,892 people, 17,632 artists, 92,834 counts from 1 to 352,698. Set
# the environment variable `JAXALS_DATA` to a folder that holds `lastfm-2k/user_artists.dat` and `artists.dat`; without
# it the data set is downloaded (its terms, non-commercial use, are printed then).

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE

import jaxals
from jaxals import plots
from jaxals.evaluation import Popularity, by_popularity, evaluate, random_holdout

jaxals.use_all_cores()
jaxals.training.use_compilation_cache()
plt.rcParams["axes.titlesize"] = 10.5  # as `jaxals.plots` has it
small = "JAXALS_SMALL" in os.environ  # a quick run, for tests
data = jaxals.datasets.load("lastfm-2k")
data

# %% [markdown]
# ## Train
#
# A fifth of all counts is held out. Play counts are heavy-tailed, so the confidence grows with their logarithm:
# `Objective.log`. After every sweep the loss is computed over all 33 million pairs, and NDCG@10 on what was held out.

# %%
split = random_holdout(data, 0.2, seed=0)
objective = jaxals.Objective.log(alpha=10.0, regularization=10.0)
trainer = jaxals.ALS(factors=8 if small else 32, sweeps=3 if small else 12)
run = jaxals.fit(split.train, objective, trainer, validation=split.test, metrics=["ndcg@10"], progress=False)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
plots.plot_loss(run.history, left)
plots.plot_curves({"ALS": run.history}, "ndcg@10", "step", right).set_title("Held-out artists found")
right.get_legend().remove()
run.history.tail(3)

# %% [markdown]
# Is that any good? Recommending what is popular is the bar to clear, and what is popular is also what is easy to find:
# held-out artists with few listeners are found far less often.

# %%
metrics = ["recall@10", "recall@20", "ndcg@10"]
popularity = evaluate(Popularity.from_interactions(split.train), split.train, split.test, metrics)
measured = evaluate(run.factors, split.train, split.test, metrics)
both = {"ALS": measured, "popularity": popularity}
frame = pd.concat({name: one.to_frame() for name, one in both.items()}, names=["model"]).reset_index("model")
buckets = by_popularity(evaluate(run.factors, split.train, split.test, ["recall@10"]), split.train, k=10, buckets=5)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
plots.plot_metrics(frame, left)
plots.plot_popularity(buckets, right).set_title("Recall@10 by popularity")
buckets

# %% [markdown]
# ## Ask
#
# Everything is asked by name. `settled()` brings users and items to rest for each other first.

# %%
recommender = jaxals.Recommender(run.factors, split.train, run.objective).settled()
alike = {
    artist: recommender.similar_items(artist, n=6)["similar_item"].tolist()
    for artist in ("Radiohead", "Miles Davis", "Metallica", "Madonna", "Daft Punk")
}
pd.DataFrame(alike)

# %%
person = data.catalog.users[7]
listened = data.to_frame().query("user == @person").nlargest(8, "value")[["item", "value"]].reset_index(drop=True)
recommended = recommender.recommend(person, n=8)[["item", "score"]]
pd.concat({"listened to most": listened, "recommended": recommended.reset_index(drop=True)}, axis=1)

# %% [markdown]
# Why the first of these? A score is a sum over what the person listened to (Hu, Koren and Volinsky 2008, section 5).

# %%
recommender.explain(person, recommended["item"].iloc[0]).head(6)

# %% [markdown]
# ## A map of artists
#
# The vectors of the 220 artists with most listeners, brought to the plane so that neighbours stay neighbours (t-SNE of
# cosine distances); colours are groups of like vectors, found without any genre being known.

# %%
listeners = pd.Series(data.counts("item"), index=data.catalog.items)
top = np.argsort(-data.counts("item"))[: 60 if small else 220]
vectors = np.asarray(run.factors.item)[top]
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
place = TSNE(metric="cosine", init="random", perplexity=12, random_state=0).fit_transform(vectors)
group = KMeans(7, n_init=4, random_state=0).fit_predict(vectors)
names = data.catalog.items[top]
artists = pd.DataFrame(
    {"x": place[:, 0], "y": place[:, 1], "name": names, "size": listeners.loc[names].to_numpy(), "group": group}
)
figure, ax = plt.subplots(figsize=(11, 8), layout="constrained")
plots.plot_map(artists, ax, n_names=90).set_title("Artists that the same people listen to lie close together")
plt.show()
