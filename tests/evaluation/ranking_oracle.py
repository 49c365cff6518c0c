"""Dense, plain Python versions of the ranking metrics, by a full sort of one user's items. Host side.

Tied items come in any order, all as likely: the number of relevant ones found so far is followed from rank to rank as a
random variable, without the closed forms of the package.
"""

import itertools
import math

import numpy as np


def rank_user(scores, relevant, excluded, names):
    """Measure one user's ranking: `relevant` and `excluded` are disjoint sets of item indices."""
    candidates = [item for item in range(len(scores)) if item not in excluded and scores[item] > -math.inf]
    candidates.sort(key=lambda item: -scores[item])
    levels = [list(group) for _, group in itertools.groupby(candidates, key=lambda item: scores[item])]
    depth = max((int(name.split("@")[1]) for name in names if "@" in name), default=0)
    ranks = _follow([(len(level), len(relevant.intersection(level))) for level in levels], depth)
    return {name: _measure(name, ranks, candidates, relevant, scores) for name in names}


def _follow(levels, depth):
    """For each rank: P(c found before, and one more here) by c."""
    found: dict[int, float] = {0: 1.0}
    ranks: list[dict[int, float]] = []
    for size, wanted in levels:
        before = max(found)  # at the end of a level the number is certain
        for drawn in range(size):
            if len(ranks) == depth:
                return ranks
            here = {c: p * (wanted - (c - before)) / (size - drawn) for c, p in found.items()}
            ranks.append(here)
            after: dict[int, float] = {}
            for c, p in found.items():
                after[c] = after.get(c, 0.0) + p - here[c]
                after[c + 1] = after.get(c + 1, 0.0) + here[c]
            found = {c: p for c, p in after.items() if p > 1e-300}
        found = {before + wanted: 1.0}
    return ranks


def rank_all(scores, relevant, excluded, names):
    """Measure every user who has something relevant left: (users, one row of values each)."""
    rows = {}
    for user in range(len(scores)):
        left = set(np.flatnonzero(relevant[user])) - set(np.flatnonzero(excluded[user]))
        if left:
            measured = rank_user(scores[user], left, set(np.flatnonzero(excluded[user])), names)
            rows[user] = [measured[name] for name in names]
    return list(rows), np.array(list(rows.values()))


def _measure(name, ranks, ranking, relevant, scores):
    if name == "auc":
        others = [item for item in ranking if item not in relevant]
        pairs = [(scores[wanted], scores[other]) for wanted in relevant for other in others]
        if not pairs:
            return 0.5
        return sum(1.0 if wanted > other else 0.5 if wanted == other else 0.0 for wanted, other in pairs) / len(pairs)
    kind, k = name.split("@")
    k = int(k)
    ranks = list(enumerate(ranks[:k], start=1))
    hits = sum(sum(here.values()) for _, here in ranks)
    if kind == "recall":
        return hits / len(relevant)
    if kind == "capped_recall":
        return hits / min(k, len(relevant))
    if kind == "precision":
        return hits / k
    if kind == "ndcg":
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
        return sum(sum(here.values()) / math.log2(rank + 1) for rank, here in ranks) / ideal
    if kind == "map":
        return sum(p * (c + 1) / rank for rank, here in ranks for c, p in here.items()) / min(k, len(relevant))
    if kind == "mrr":
        return sum(here.get(0, 0.0) / rank for rank, here in ranks)
    if kind == "hit_rate":
        return sum(here.get(0, 0.0) for _, here in ranks)
    raise ValueError(name)
