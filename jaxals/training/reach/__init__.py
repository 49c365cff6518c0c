"""What the numbers of a run depend on beside its settings: code of the user's, and the constants that it reads."""

from jaxals.training.reach.bytecode import COMPILER as COMPILER
from jaxals.training.reach.origin import is_users as is_users
from jaxals.training.reach.walk import UNTOLD as UNTOLD
from jaxals.training.reach.walk import Reach as Reach
