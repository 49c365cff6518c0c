"""The three programs of the 2017 article "ALS Implicit Collaborative Filtering", run with jaxals.

Reads Last.fm play counts in the format of Last.fm 360K; `docs/experiments/from-the-article.md` walks through what it
prints.

    JAXALS_DATA=... python experiments/from_the_article.py
"""

import argparse

import jaxals
from jaxals.implicit_api import AlternatingLeastSquares

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artist", default="Jay-Z", help="whose neighbours to show")
parser.add_argument("--user", help="sha1 of the user to recommend to; by default the busiest listener of --artist")
arguments = parser.parse_args()
jaxals.use_all_cores()

# The data: artists are keyed by name, rows without a name and rows of zero plays are dropped.
plays = jaxals.datasets.load("lastfm-360k")
print(plays)
frame = plays.to_frame()
user = arguments.user or frame[frame["item"] == arguments.artist].nlargest(1, "value")["user"].iloc[0]

print(f"\nWhat {user[:8]}… played most")
print(frame[frame["user"] == user].nlargest(10, "value")[["item", "value"]].to_string(index=False))

# 1. Closed form: confidence 1 + 40 plays, 20 factors, 20 sweeps.
# 2. Conjugate gradient in the article; the weights it uses are 15 plays on observed pairs and 1 elsewhere.
programs = {
    "closed form (hkv, alpha 40)": jaxals.Objective.hkv(alpha=40.0, regularization=0.1),
    "the CG code's weights (implicit, alpha 15)": jaxals.Objective.implicit(alpha=15.0, regularization=0.1),
}
for name, objective in programs.items():
    run = jaxals.fit(plays, objective, jaxals.ALS(factors=20, sweeps=20, acceleration=None, start="random"), seed=0)
    model = jaxals.Recommender(run.factors, plays, objective).settled()
    first, last = run.history["loss"].iloc[[0, -1]]
    print(f"\n== {name}: loss {first:.4g} after 1 sweep, {last:.4g} after 20")
    print(f"\nArtists similar to {arguments.artist}")
    print(model.similar_items(arguments.artist)[["similar_item", "score"]].to_string(index=False))
    print(f"\nRecommendations for {user[:8]}…")
    print(model.recommend(user, scale="unit")[["item", "score"]].to_string(index=False))

# 3. The implicit library: the same program with one import changed.
library = AlternatingLeastSquares(factors=20, regularization=0.1, iterations=20, random_state=0)
library.fit((plays.to_scipy() * 15).astype("float32"), show_progress=False)
row = plays.catalog.item_indices([arguments.artist])[0]
found, scores = library.similar_items(row, N=10)
print("\n== the implicit library's interface")
for item, score in zip(found, scores, strict=True):
    print(f"{score:.3f}  {plays.catalog.items[item]}")
