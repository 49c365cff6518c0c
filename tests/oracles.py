"""Dense float64 NumPy versions written from the papers: over all columns, without the Gramian shortcut."""

import numpy as np

from jaxals import Objective

# name: (objective, its parameters)
PRESETS = {
    "hkv": (Objective.hkv(alpha=3.0, regularization=0.2), {"alpha": 3.0, "lam": 0.2}),
    "implicit": (Objective.implicit(alpha=2.0, regularization=0.3), {"alpha": 2.0, "lam": 0.3}),
    "log": (Objective.log(alpha=4.0, epsilon=0.5, regularization=0.1), {"alpha": 4.0, "eps": 0.5, "lam": 0.1}),
    "ials": (Objective.ials(unobserved_weight=0.3, regularization=0.05), {"w0": 0.3, "lam": 0.05, "nu": 1.0}),
    "ials_half": (
        Objective.ials(unobserved_weight=0.2, regularization=0.05, frequency_exponent=0.5),
        {"w0": 0.2, "lam": 0.05, "nu": 0.5},
    ),
    "spark": (Objective.spark(alpha=1.5, regularization=0.1), {"alpha": 1.5, "lam": 0.1}),
}


def cells(name: str, r: np.ndarray, p: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Full weight c, target p and ridge of every cell and row of a dense matrix of values r."""
    seen, liked = r != 0, r > 0
    if name == "hkv" or name == "spark":  # c = 1 + α|r|, p = [r > 0]
        weight, target = 1 + p["alpha"] * np.abs(r), liked.astype(float)
    elif name == "implicit":  # c = α|r| where seen, 1 elsewhere
        weight, target = np.where(seen, p["alpha"] * np.abs(r), 1.0), liked.astype(float)
    elif name == "log":  # c = 1 + α log(1 + |r|/ε)
        weight, target = 1 + p["alpha"] * np.log(1 + np.abs(r) / p["eps"]), liked.astype(float)
    else:  # Σ_S (1 - s)² + w0 Σ_all s²: on seen cells (1 + w0)(p - s)² with p = 1 / (1 + w0), up to a constant
        weight, target = np.where(seen, 1 + p["w0"], p["w0"]), np.where(liked, 1 / (1 + p["w0"]), 0.0)
    return weight, target, ridge(name, r, p)


def ridge(name: str, r: np.ndarray, p: dict) -> np.ndarray:
    n = (r != 0).sum(1)
    if name in ("ials", "ials_half"):
        return p["lam"] * (n + p["w0"] * r.shape[1]) ** p["nu"]
    if name == "spark":
        return p["lam"] * n
    return np.full(len(r), p["lam"])


def half_step(name: str, r: np.ndarray, y: np.ndarray, p: dict) -> np.ndarray:
    """Solve every row of the dense matrix r over all of its columns."""
    weight, target, lam = cells(name, r, p)
    x = np.zeros((len(r), y.shape[1]))
    for u in range(len(r)):
        if (r[u] != 0).any():
            a = (y * weight[u][:, None]).T @ y + lam[u] * np.eye(y.shape[1])
            x[u] = np.linalg.solve(a, y.T @ (weight[u] * target[u]))
    return x


def loss(name: str, r: np.ndarray, x: np.ndarray, y: np.ndarray, p: dict) -> float:
    weight, target, lam_user = cells(name, r, p)
    lam_item = ridge(name, r.T, p)
    fit = (weight * (target - x @ y.T) ** 2).sum()
    return float(fit + (lam_user * (x**2).sum(1)).sum() + (lam_item * (y**2).sum(1)).sum())


def random_values(seed: int, n_rows: int, n_columns: int, density: float = 0.3) -> np.ndarray:
    """A dense matrix of heavy-tailed values with dislikes, an empty row, an empty column and a full row."""
    rng = np.random.default_rng(seed)
    r = np.where(rng.random((n_rows, n_columns)) < density, np.ceil(rng.lognormal(1, 1.5, (n_rows, n_columns))), 0.0)
    r[rng.random(r.shape) < 0.05] *= -1
    r[0] = np.arange(1, n_columns + 1)
    if n_rows > 2:
        r[1] = 0
    if n_columns > 2:
        r[:, 2] = 0
    return r
