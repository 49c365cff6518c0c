import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxals.errors import DataError
from jaxals.implicit_api import MissingRowError, ParameterWarning
from jaxals.implicit_api._matrices import as_csr, confidences_of, require_columns, rows_as_csr

MATRIX = sp.csr_matrix(np.array([[1.0, 0, 2], [0, 3, 0]]))


@pytest.mark.parametrize("same", [MATRIX, sp.csr_array(MATRIX), MATRIX.astype(bool), MATRIX.astype(np.int8)], ids=str)
def test_csr_is_taken_as_it_is(same):
    assert as_csr("user_items", same) is same


def test_a_row_of_a_csr_array_has_one_axis():
    row = sp.csr_array(MATRIX)[0]
    if row.ndim == 1 and isinstance(row, sp.csr_array):
        assert as_csr("user_items", row).shape == (1, 3)
    assert rows_as_csr("user_items", sp.csr_array(MATRIX)[[1]], 1, "user").indices.tolist() == [1]


@pytest.mark.parametrize("other", [MATRIX.tocoo(), MATRIX.tolil(), sp.dok_array(MATRIX), MATRIX.toarray()], ids=str)
def test_others_are_converted_with_a_warning(other):
    with pytest.warns(ParameterWarning, match=f"was passed {type(other).__name__} instead"):
        converted = as_csr("user_items", other)
    np.testing.assert_array_equal(converted.toarray(), MATRIX.toarray())


def damaged(column: int) -> sp.csr_matrix:
    matrix = MATRIX.copy()
    matrix.indices[0] = column
    return matrix


WRONG = [
    (pd.DataFrame({"user": [1], "item": [2], "value": [1.0]}), "got DataFrame"),
    ([[1, 2], [3, 4]], "got list"),
    (None, "got NoneType None"),
    ("data.npz", "got str 'data.npz'"),
    (np.ones(3), "of shape (3,)"),
    (np.ones((2, 2, 2)), "of shape (2, 2, 2)"),
    (np.array([["a"]]), "dtype <U1"),
    (MATRIX.astype(complex), "real numbers; got complex128"),
    (damaged(7), "3 columns, and an entry in column 7"),
    (damaged(-1), "3 columns, and an entry in column -1"),
]


@pytest.mark.parametrize(("matrix", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_is_no_matrix(matrix, message):
    with pytest.raises(DataError, match="`user_items`") as caught:
        as_csr("user_items", matrix)
    assert message in str(caught.value)


def test_rows_that_cannot_be_those_of_the_model():
    require = lambda columns, n_columns, n_rows: require_columns(
        "x", sp.csr_matrix((1, columns)), n_columns, n_rows, "item"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require(20, 20, 30)
        require(10, 20, 30)  # written down before the model grew
        require(20, 20, 20)
    with pytest.raises(
        MissingRowError, match=r"`x` has 30 columns, but the model only 20 items for them; pass `\.T\.tocsr"
    ):
        require(30, 20, 30)
    with pytest.raises(MissingRowError, match=r"has 25 columns, but the model only 20 items for them\.$"):
        require(25, 20, 30)
    with pytest.warns(ParameterWarning, match="has 12 columns, one for each user of the model, where its 20 items"):
        require(12, 20, 12)


@pytest.mark.parametrize(
    ("value", "alpha", "message"),
    [
        (np.nan, 1.0, "`x` holds nan in row 1, column 1, which is not finite"),
        (-np.inf, 2.0, "`x` holds -inf in row 1, column 1, which is not finite"),
        (1e39, 1.0, "holds 1e+39 in row 1, column 1, which is too large for float32 with `alpha` 1.0"),
        (1e38, 1e3, "holds 1e+38 in row 1, column 1, which is too large for float32 with `alpha` 1000.0"),
    ],
)
def test_values_that_are_no_confidences_are_named_with_their_place(value, alpha, message):
    matrix = MATRIX.copy()
    matrix.data[2] = value
    with pytest.raises(DataError) as caught:
        confidences_of("x", matrix, alpha)
    assert message in str(caught.value)
