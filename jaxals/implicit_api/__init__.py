"""`implicit.als.AlternatingLeastSquares`, computed by jaxals: change one import and keep the program. Host side.

The class follows the CPU model of implicit 0.7.3: same arguments, NumPy arrays in and out, same initial factors for the
same `random_state`, same files. implicit itself is not needed. What differs:

- `fit` puts new arrays into `user_factors` and `item_factors` instead of writing into the old ones.
- Nothing is cached: factors that a program changes in place count at once, at the price of moving the table to the
  device in every call. Ask for many users in one call where speed matters.
- `random_state` may be a `numpy.random.RandomState`, where implicit 0.7.3 fails; `N=0` and `items=[]` give empty
  answers; and given `items`, `recommend` leaves `user_items` as it was, where implicit writes zeros into it.
- What cannot fit the model is refused, where implicit reads past the end of its arrays or answers from the wrong row:
  matrices with more columns than it has, negative ids (-1 is how pandas marks what is missing), values that are not
  finite, settings outside their range. Rows that look transposed are warned of.
- `csr_array`, dense arrays, sets of ids and masks of all ids are taken.
- `similar_items(items=)` and `similar_users(users=)` return no more than was chosen, and `N` beyond the number of items
  is filled up with id -1 and the lowest float. implicit takes id 0 (or the first chosen) and score 0 for both, which
  stands above every negative score.
- Small data are fitted in float64, whatever the model's dtype, and rounded at the end.
- A system that is singular raises `ModelFitError`, which is a ValueError too, and what handlers and filters of implicit
  catch where a program has imported it; so is `ParameterWarning`.
- With `use_cg=True` the steps are those of implicit, but rows of very many entries are solved exactly all the same.
- A process that was forked after JAX had begun is told so, instead of waiting for ever.

What is kept, though the rest of jaxals does otherwise: items that are filtered out come last with the lowest float as
score, ties go to the higher id, and an explicit zero in the matrix is a pair of confidence 0, while an absent pair has
confidence 1.

`nearest_neighbours`, `evaluation` and `datasets` are what programs import beside it.
"""

from jaxals.implicit_api import als as als
from jaxals.implicit_api import datasets as datasets
from jaxals.implicit_api import evaluation as evaluation
from jaxals.implicit_api import nearest_neighbours as nearest_neighbours
from jaxals.implicit_api._errors import MissingFileError as MissingFileError
from jaxals.implicit_api._errors import MissingRowError as MissingRowError
from jaxals.implicit_api._errors import ModelFitError as ModelFitError
from jaxals.implicit_api._errors import NotOfferedError as NotOfferedError
from jaxals.implicit_api._errors import ParameterWarning as ParameterWarning
from jaxals.implicit_api._errors import UnfittedModelError as UnfittedModelError
from jaxals.implicit_api._model import AlternatingLeastSquares as AlternatingLeastSquares
