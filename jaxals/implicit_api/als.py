"""Where implicit has its model: `jaxals.implicit_api.als.AlternatingLeastSquares`. Host side."""

from jaxals.implicit_api._model import AlternatingLeastSquares as AlternatingLeastSquares
