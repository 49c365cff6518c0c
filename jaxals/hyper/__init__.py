"""Many settings at once: whole sweeps of models trained together."""

from jaxals.hyper.sweeps import Sweep as Sweep
from jaxals.hyper.sweeps import sweep as sweep
