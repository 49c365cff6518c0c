"""Data sets in the shapes of `implicit.datasets`, read by `jaxals.datasets`. Host side."""

from jaxals.implicit_api.datasets import lastfm as lastfm
from jaxals.implicit_api.datasets import movielens as movielens
