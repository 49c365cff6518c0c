"""Alternating least squares: half steps and sweeps, how their systems are laid out, solved and differentiated."""

from jaxals.als.explanations import contributions as contributions
from jaxals.als.half_steps import half_step as half_step
from jaxals.als.kernels.factorization import solve_symmetric as solve_symmetric
from jaxals.als.layout.tiles import RowTiles as RowTiles
from jaxals.als.layout.tiles import build_tiles as build_tiles
from jaxals.als.parallel.mesh import make_mesh as make_mesh
from jaxals.als.parallel.mesh import use_all_cores as use_all_cores
from jaxals.als.solver import Cholesky as Cholesky
from jaxals.als.solver import ConjugateGradient as ConjugateGradient
from jaxals.als.solver import NonNegative as NonNegative
from jaxals.als.solver import NormalEquations as NormalEquations
from jaxals.als.solver import Solver as Solver
from jaxals.als.solver import Subspace as Subspace
from jaxals.als.stages import StepInfo as StepInfo
from jaxals.als.sweeps import initial_factors as initial_factors
from jaxals.als.sweeps import sweep as sweep
