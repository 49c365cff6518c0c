"""Public data sets, read from the very files they are distributed as, and a generator of synthetic ones."""

from jaxals.datasets import published as published
from jaxals.datasets.loading import find as find
from jaxals.datasets.loading import load as load
from jaxals.datasets.loading import locate as locate
from jaxals.datasets.registry import DatasetInfo as DatasetInfo
from jaxals.datasets.registry import info as info
from jaxals.datasets.registry import names as names
from jaxals.datasets.synthetic import synthetic as synthetic
