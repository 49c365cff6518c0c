"""Which neighbours of an artist are worth reading: what to do about vectors that one or two listeners made.

First, rules. One artist of each listener is hidden. Of each of the listener's other artists, ten neighbours are found;
a rule is good if the hidden artist is often among them, and if few of them are artists that next to nobody plays.
"Plain" is the cosine c. A floor leaves out artists of fewer listeners; shrinkage s ranks by c n / (n + s), n being the
neighbour's listeners. Then, the ten neighbours by default of some well-known artists, and of one with three listeners,
beside those of implicit with its own defaults, from all that there is.

    JAXALS_DATA=... python experiments/similar_items.py
"""

import argparse
import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy.sparse
from jaxtyping import Float

import jaxals
from jaxals.datasets.published import find_published
from jaxals.evaluation import leave_k_out

N = 10
FAMOUS = ("Jay-Z", "Radiohead", "Johnny Cash", "Kraftwerk")
RARE = 500  # which of the artists with three listeners
FILE = "lastfm-360k-format/usersha1-artmbid-artname-plays.tsv"
Rule = Callable[[Float[np.ndarray, "batch items"]], Float[np.ndarray, "batch items"]]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()
jaxals.use_all_cores()
plays = jaxals.datasets.load("lastfm-360k", find_published(FILE))


def rules(listeners: np.ndarray) -> dict[str, Rule]:
    """Return how each rule ranks cosines with artists of so many listeners."""
    floors = {f"floor {least}": lambda c, n=least: np.where(listeners >= n, c, -np.inf) for least in (2, 3, 5, 10)}
    shrunk = {f"shrinkage {s}": lambda c, s=s: c * listeners / (listeners + s) for s in (1, 2, 3, 5, 10, 20)}
    return {"plain": lambda c: np.where(listeners > 0, c, -np.inf), **floors, **shrunk}


def compare_rules(seed: int) -> pd.DataFrame:
    """Measure each rule on one split."""
    split = leave_k_out(plays, k=1, seed=seed)
    vectors = np.asarray(jaxals.fit(split.train, seed=seed, progress=False, loss_every=0).factors.item)
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.where(lengths > 0, lengths, 1)[:, None]
    listeners = split.train.counts("item")
    hidden = np.full(plays.n_users, -1)
    hidden[split.test.user] = split.test.item
    asked = listeners[split.train.item]
    is_rare = (asked >= 3) & (asked < 20)
    rows = []
    for name, rule in rules(listeners).items():
        found = np.empty((plays.n_items, N), int)
        for first in range(0, plays.n_items, 1024):
            batch = np.arange(first, min(first + 1024, plays.n_items))
            scores = rule(unit[batch] @ unit.T)
            scores[np.arange(len(batch)), batch] = -np.inf
            found[batch] = np.argpartition(-scores, N, axis=1)[:, :N]
        is_hit = (found[split.train.item] == hidden[split.train.user, None]).any(axis=1)
        neighbours = listeners[found[listeners >= 20]]
        rows.append(
            {
                "rule": name,
                "hidden artist found": is_hit.mean(),
                "by artists of 3 to 19 listeners": is_hit[is_rare].mean(),
                "neighbours of one listener": (neighbours == 1).mean(),
                "of one or two": (neighbours <= 2).mean(),
                "median listeners": np.median(neighbours),
            }
        )
    return pd.DataFrame(rows).set_index("rule")


def ten_of_each() -> list[str]:
    """List neighbours by default, beside those of implicit: name and listeners."""
    from implicit.cpu.als import AlternatingLeastSquares

    listeners, names = plays.counts("item"), plays.catalog.items
    recommender = jaxals.Recommender.from_run(jaxals.fit(plays, seed=0, progress=False, loss_every=0), plays)
    peer = AlternatingLeastSquares(random_state=0)
    peer.fit(scipy.sparse.csr_matrix(plays.to_scipy().astype(np.float32)), show_progress=False)
    rare = names[np.flatnonzero(listeners == 3)[RARE]]
    shown = lambda rows: "; ".join(f"{names[row]} ({listeners[row]})" for row in rows)
    lines = []
    for name in (*FAMOUS, rare):
        row = plays.catalog.item_indices([name])[0]
        ours, theirs = recommender.nearest(np.array([row]), N)[0][0], peer.similar_items(row, N + 1)[0]
        lines += [f"{name} ({listeners[row]} listeners)", f"  jaxals    {shown(ours)}"]
        lines += [f"  implicit  {shown([other for other in theirs if other != row][:N])}"]
    return lines


measured = sum(compare_rules(seed) for seed in range(arguments.seeds)) / arguments.seeds
text = measured.round(4).to_string() + "\n\n" + "\n".join(ten_of_each()) + "\n"
print(text)
(arguments.out / "similar_items.txt").write_text(text)
