"""Dense, plain Python versions of the ranking metrics, by a full sort of one user's items. Host side."""

import math

import numpy as np


def rank_user(scores, relevant, excluded, names):
    """Measure one user's ranking: `relevant` and `excluded` are disjoint sets of item indices."""
    candidates = [item for item in range(len(scores)) if item not in excluded]
    ranking = sorted(candidates, key=lambda item: (-scores[item], item))
    return {name: _measure(name, ranking, relevant, scores) for name in names}


def rank_all(scores, relevant, excluded, names):
    """Measure every user who has something relevant left: (users, one row of values each)."""
    rows = {}
    for user in range(len(scores)):
        left = set(np.flatnonzero(relevant[user])) - set(np.flatnonzero(excluded[user]))
        if left:
            measured = rank_user(scores[user], left, set(np.flatnonzero(excluded[user])), names)
            rows[user] = [measured[name] for name in names]
    return list(rows), np.array(list(rows.values()))


def _measure(name, ranking, relevant, scores):
    if name == "auc":
        others = [item for item in ranking if item not in relevant]
        pairs = [(scores[wanted], scores[other]) for wanted in relevant for other in others]
        if not pairs:
            return 0.5
        return sum(1.0 if wanted > other else 0.5 if wanted == other else 0.0 for wanted, other in pairs) / len(pairs)
    kind, k = name.split("@")
    k = int(k)
    ranks = [rank for rank, item in enumerate(ranking[:k], start=1) if item in relevant]
    if kind == "recall":
        return len(ranks) / len(relevant)
    if kind == "capped_recall":
        return len(ranks) / min(k, len(relevant))
    if kind == "precision":
        return len(ranks) / k
    if kind == "ndcg":
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
        return sum(1 / math.log2(rank + 1) for rank in ranks) / ideal
    if kind == "map":
        return sum(found / rank for found, rank in enumerate(ranks, start=1)) / min(k, len(relevant))
    if kind == "mrr":
        return 1 / ranks[0] if ranks else 0.0
    if kind == "hit_rate":
        return float(bool(ranks))
    raise ValueError(name)
