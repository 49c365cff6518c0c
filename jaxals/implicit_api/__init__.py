"""`implicit.als.AlternatingLeastSquares`, computed by jaxals: change one import and keep the program. Host side.

The class follows the CPU model of implicit 0.7.3: same arguments, NumPy arrays in and out, same initial factors for the
same `random_state`, same files. implicit itself is not needed. What differs:

- `fit` puts new arrays into `user_factors` and `item_factors` instead of writing into the old ones.
- Nothing is cached: factors that a program changes in place count at once, at the price of moving the table to the
  device in every call. Ask for many users in one call where speed matters.
- `random_state` may be a `numpy.random.RandomState`, where implicit 0.7.3 fails; `N=0` gives empty answers; a matrix
  that does not fit the model is refused, where implicit reads past the end of its arrays; and given `items`,
  `recommend` leaves `user_items` as it was, where implicit writes zeros into it.
- Small data are fitted in float64, whatever the model's dtype, and rounded at the end.
- A system that is singular and a NaN in the factors both raise `ModelFitError`, which is a ValueError too.
- With `use_cg=True` the steps are those of implicit, but rows of very many entries are solved exactly all the same.

What is kept, though the rest of jaxals does otherwise: items that are filtered out come last with the lowest float as
score, `N` beyond the number of items is padded with id 0 and score 0, ties go to the higher id, and an explicit zero in
the matrix is a pair of confidence 0, while an absent pair has confidence 1.
"""

from jaxals.implicit_api._errors import MissingRowError as MissingRowError
from jaxals.implicit_api._errors import ModelFitError as ModelFitError
from jaxals.implicit_api._errors import ParameterWarning as ParameterWarning
from jaxals.implicit_api._errors import UnfittedModelError as UnfittedModelError
from jaxals.implicit_api._model import AlternatingLeastSquares as AlternatingLeastSquares
