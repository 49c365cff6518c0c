"""Where a half step runs: the devices of a mesh, and those of a CPU, which share one memory."""

from jaxals.als.parallel.mesh import make_mesh as make_mesh
from jaxals.als.parallel.mesh import use_all_cores as use_all_cores
