"""Values that an argument is given in the place of a right one; made anew each time, for generators end."""

import decimal
import fractions
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import scipy.sparse

import jaxals

MASK = np.arange(12) % 2 == 0
FRAME = {"user": [0, 1, 1], "item": [1, 0, 2], "value": [1.0, 2.0, 3.0]}


def sparse() -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix(np.eye(12, 8))


def others() -> jaxals.Interactions:
    return jaxals.Interactions.from_arrays([0, 1, 2], [0, 1, 0])


class Nothing:
    """An object that says nothing of itself."""


ZOO: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "NaN": lambda: float("nan"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "1": lambda: 1,
    "2.0": lambda: 2.0,
    "-0.5": lambda: -0.5,
    "inf": lambda: float("inf"),
    "True": lambda: True,
    "huge": lambda: 10**30,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "endless digits": lambda: 10**5000,
    "complex": lambda: 1 + 2j,
    "Decimal": lambda: decimal.Decimal("0.5"),
    "Fraction": lambda: fractions.Fraction(1, 2),
    "np.int64": lambda: np.int64(3),
    "np.int8": lambda: np.int8(-7),
    "np.float32": lambda: np.float32(0.5),
    "np.nan": lambda: np.float64("nan"),
    "np.bool_": lambda: np.bool_(True),
    "np.datetime64": lambda: np.datetime64("2020-01-01"),
    "NaT": lambda: pd.NaT,
    "NA": lambda: pd.NA,
    "text": lambda: "text",
    "empty text": lambda: "",
    "null": lambda: "a\0b",
    "no Unicode": lambda: "\ud800",
    "long text": lambda: "long " * 1000,
    "bytes": lambda: b"bytes",
    "ellipsis": lambda: ...,
    "set": lambda: {0, 1},
    "empty set": lambda: set(),
    "frozenset": lambda: frozenset(["x"]),
    "generator": lambda: (i for i in range(3)),
    "iterator": lambda: iter([0]),
    "range": lambda: range(3),
    "slice": lambda: slice(3),
    "list": lambda: [0, 1],
    "list of texts": lambda: ["a", "b"],
    "list of None": lambda: [None],
    "list of floats": lambda: [0.5, float("nan")],
    "ragged": lambda: [[1], [2, 3]],
    "long list": lambda: list(range(1000)),
    "empty list": lambda: [],
    "tuple": lambda: (),
    "dict": lambda: {},
    "dict of texts": lambda: {"a": 1},
    "dict of ints": lambda: {0: "a"},
    "dict of lists": lambda: FRAME,
    "lambda": lambda: lambda *_: None,
    "function of one": lambda: lambda value: value,
    "class": lambda: type("Something", (), {}),
    "class of ours": lambda: jaxals.Cholesky,
    "int": lambda: int,
    "print": lambda: print,
    "module": lambda: np,
    "object": Nothing,
    "mask": lambda: MASK,
    "short mask": lambda: MASK[:5],
    "csr": sparse,
    "csr_array": lambda: scipy.sparse.csr_array(sparse()),
    "coo": lambda: sparse().tocoo(),
    "csr transposed": lambda: sparse().T.tocsr(),
    "frame": lambda: pd.DataFrame(FRAME),
    "empty frame": pd.DataFrame,
    "series": lambda: pd.Series([0.0, 1.0]),
    "series of texts": lambda: pd.Series(["a", None]),
    "index": lambda: pd.Index([0, 1]),
    "multi-index": lambda: pd.MultiIndex.from_tuples([(0, 1)]),
    "categorical": lambda: pd.Categorical(["a", "b"]),
    "0-D": lambda: np.array(1.0),
    "1-D floats": lambda: np.array([0.5, 1.5, 2.5]),
    "1-D ints": lambda: np.arange(3),
    "negative ints": lambda: np.array([-1, 0]),
    "ints past the end": lambda: np.array([0, 99]),
    "2-D floats": lambda: np.ones((3, 2)),
    "2-D ints": lambda: np.ones((12, 8), int),
    "3-D floats": lambda: np.ones((2, 2, 2), np.float32),
    "empty array": lambda: np.zeros(0),
    "no columns": lambda: np.zeros((12, 0), np.float32),
    "array of objects": lambda: np.array([None, "a"], object),
    "array of texts": lambda: np.array(["a", "b"]),
    "array of dates": lambda: np.array(["2020-01-01"], "M8[D]"),
    "array of complex": lambda: np.array([1j]),
    "array of halves": lambda: np.ones((8, 2), np.float16),
    "structured array": lambda: np.zeros(2, [("a", int)]),
    "masked array": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "matrix": lambda: np.asmatrix(np.eye(2)),
    "JAX 0-D": lambda: jnp.array(0.5),
    "JAX NaN": lambda: jnp.array(jnp.nan, jnp.float32),
    "JAX ints": lambda: jnp.arange(3),
    "JAX table": lambda: jnp.ones((12, 2), jnp.float32),
    "JAX wide table": lambda: jnp.ones((8, 5), jnp.float32),
    "JAX table of ints": lambda: jnp.ones((8, 2), jnp.int32),
    "JAX 3-D": lambda: jnp.ones((2, 2, 2)),
    "JAX empty": lambda: jnp.zeros((0, 2), jnp.float32),
    "JAX complex": lambda: jnp.ones(3, jnp.complex64),
    "JAX key": lambda: jax.random.key(1),
    "JAX keys": lambda: jax.random.split(jax.random.key(1)),
    "old JAX key": lambda: jax.random.PRNGKey(1),
    "shape": lambda: jax.ShapeDtypeStruct((12, 2), jnp.float32),
    "path": lambda: pathlib.Path("no/such/place"),
    "interactions": others,
    "catalog": lambda: others().catalog,
    "objective": lambda: jaxals.Objective.ials(),
    "trainer": lambda: jaxals.ALS(factors=3, sweeps=1),
    "factors": lambda: jaxals.Factors(jnp.ones((3, 2)), jnp.ones((2, 2))),
    "uneven factors": lambda: jaxals.Factors(jnp.ones((12, 2)), jnp.ones((8, 3))),
    "factors of None": lambda: jaxals.Factors(None, None),  # type: ignore[arg-type]
    "solver": jaxals.Cholesky,
    "Partial": lambda: jax.tree_util.Partial(lambda *_: (1, 2, 3)),
}

try:
    import polars
except ImportError:
    pass
else:
    ZOO["polars"] = lambda: polars.DataFrame(FRAME)
