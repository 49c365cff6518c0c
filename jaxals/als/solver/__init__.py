"""Ways to solve a chunk of rows, one a file."""

from jaxals.als.solver.cholesky import Cholesky as Cholesky
from jaxals.als.solver.conjugate_gradient import ConjugateGradient as ConjugateGradient
from jaxals.als.solver.equations import NormalEquations as NormalEquations
from jaxals.als.solver.equations import Solution as Solution
from jaxals.als.solver.equations import Solver as Solver
from jaxals.als.solver.non_negative import NonNegative as NonNegative
from jaxals.als.solver.subspace import Subspace as Subspace
