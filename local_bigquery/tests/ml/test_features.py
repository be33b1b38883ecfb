"""Columns of every type become features, as BigQuery ML documents its automatic preprocessing."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest
from scipy import sparse

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.features.encoding import DUMMY, LABEL, FeatureEncoder

INSTANT = pa.timestamp("us", "UTC")


def at(*parts):
    return dt.datetime(*parts, tzinfo=dt.UTC)


def encoded(values, column_type=None, **options):
    """Return the matrix of each feature of one column `x`, by the name of the feature."""
    rows = pa.table({"x": pa.array(values, column_type)})
    encoder = FeatureEncoder.fit(rows, ["x"], **options)
    matrix = dense(encoder.encode(rows))
    return {feature.name: matrix[:, span].tolist() for feature, span in encoder.spans()}


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 3, None], [[-np.sqrt(1.5)], [np.sqrt(1.5)], [0.0]]),
        ([5.0, 5.0], [[0.0], [0.0]]),
        (["b", "a", None], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
        ([True, False], [[0, 1], [1, 0]]),
        ([dt.date(2024, 5, 1), dt.date(2024, 4, 1)], [[0, 1], [1, 0]]),
        ([dt.datetime(2024, 5, 1), None], [[1, 0], [0, 1]]),  # noqa: DTZ001  a DATETIME has no time zone
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]),
        ([["b", "a", "b"], []], [[1, 1], [0, 0]]),
    ],
)
def test_simple_types_and_arrays_take_the_name_of_their_column(values, expected):
    assert encoded(values) == {"x": [pytest.approx(row) for row in expected]}


def test_a_sparse_vector_has_its_numbers_at_their_positions():
    entries = pa.list_(pa.struct([("k", pa.int64()), ("v", pa.int64())]))
    assert encoded([[(1, 5), (3, 7)], [], None], entries) == {"x": [[0, 5, 0, 7], [0, 0, 0, 0], [0, 0, 0, 0]]}


def test_a_timestamp_is_expanded_into_its_components():
    found = encoded([at(2024, 1, 6, 23, 59), at(2024, 1, 7), None, at(2024, 12, 31, 0, 30)], INSTANT)
    assert list(found) == [
        "x", "_TS_DOM_x", "_TS_DOW_x", "_TS_MOY_x", "_TS_HOD_x", "_TS_MOH_x", "_TS_WOY_x", "_TS_YEAR_x"
    ]  # fmt: skip
    seconds = np.array(
        [at(2024, 1, 6, 23, 59).timestamp(), at(2024, 1, 7).timestamp(), at(2024, 12, 31, 0, 30).timestamp()]
    )
    mean = seconds.mean()
    column = np.array([seconds[0], seconds[1], mean, seconds[2]])
    assert np.array(found["x"])[:, 0] == pytest.approx((column - mean) / column.std())
    categories = {name: np.argmax(matrix, axis=1).tolist() for name, matrix in found.items() if name != "x"}
    assert categories == {
        "_TS_DOM_x": [0, 1, 3, 2],  # 6, 7, 31
        "_TS_DOW_x": [2, 0, 3, 1],  # Sunday is 1, Tuesday 3, Saturday 7
        "_TS_MOY_x": [0, 0, 2, 1],
        "_TS_HOD_x": [1, 0, 2, 0],
        "_TS_MOH_x": [2, 0, 3, 1],
        "_TS_WOY_x": [0, 1, 3, 2],  # week 1 begins with the first Sunday
        "_TS_YEAR_x": [0, 0, 1, 0],
    }


def test_a_struct_is_expanded_into_its_fields():
    found = encoded([{"a": 1, "b": "x"}, {"a": 3, "b": None}, None])
    assert list(found) == ["x_a", "x_b"]
    assert found["x_b"] == [[1, 0], [0, 1], [0, 1]]
    names = encoded([{"t": at(2024, 1, 6)}], pa.struct([("t", INSTANT)]))
    assert list(names)[:2] == ["x_t", "_TS_DOM_x_t"]


def test_dummy_encoding_leaves_out_the_most_frequent_category():
    assert encoded(["a", "b", "b", None], categories=DUMMY)["x"] == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_label_encoding_counts_from_one_and_leaves_zero_for_what_is_missing_or_new():
    rows = pa.table({"x": ["b", "a", None]})
    encoder = FeatureEncoder.fit(rows, ["x"], categories=LABEL)
    assert encoder.encode(rows).tolist() == [[2], [1], [0]]
    assert encoder.encode(pa.table({"x": ["new"]})).tolist() == [[0]]


def test_numbers_keep_their_value_unless_they_are_standardised():
    assert encoded([1, None, 4], standardize=False) == {"x": [[1.0], [2.5], [4.0]]}


def test_what_was_not_seen_in_training_adds_nothing():
    rows = pa.table(
        {
            "category": ["a", "b"],
            "array": [["a"], ["b"]],
            "vector": pa.array([[(0, 1.0)], [(1, 1.0)]], pa.list_(pa.struct([("k", pa.int64()), ("v", pa.float64())]))),
        }
    )
    encoder = FeatureEncoder.fit(rows, rows.column_names)
    new = rows.slice(0, 1).set_column(0, "category", [["z"]]).set_column(1, "array", [[["z"]]])
    new = new.set_column(2, "vector", pa.array([[(9, 1.0)]], rows.schema.field("vector").type))
    assert not dense(encoder.encode(new)).any()
    assert dense(encoder.encode(rows.slice(0, 0))).shape == (0, 6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"a": {"b": 1}}], "STRUCT in a STRUCT"),
        ([[1.0], [1.0, 2.0]], "arrays of 2 and of 1 elements"),
        ([[{"k": -1, "v": 1.0}]], "position below 0"),
        ([[{"k": "a", "v": 1.0}]], "cannot be a feature"),
        ([[[1]]], "cannot be a feature"),
        ([float("inf")], "NaN or infinity"),
        ([1e308, 1e308, None], "too large"),
        ([1e300, -1e300], "too large"),
    ],
)
def test_what_cannot_be_a_feature_is_refused_with_its_name(values, message):
    with pytest.raises(BigQueryError, match=f"'x(_a)?' .*{message}"):
        encoded(values)


def test_whole_numbers_and_times_that_float64_rounds_are_features():
    assert encoded([2**53 + 1, 2**53 + 5]) == {"x": [[-1.0], [1.0]]}
    assert encoded([at(9999, 12, 31, 23, 59, 59, 999_999)], INSTANT)["_TS_YEAR_x"] == [[1.0]]


@pytest.mark.parametrize(
    ("trained", "given", "message"),
    [
        ([1], ["a"], "is string, but was a number"),
        (["a"], [[1]], "but was string"),
        ([[1.0]], [1.0], "was an array"),
        ([{"a": 1}], [{"b": 1}], "had a field 'a'"),
        ([at(2024, 1, 1)], [1], "was a TIMESTAMP"),
    ],
)
def test_an_input_of_another_type_is_refused_with_its_name(trained, given, message):
    encoder = FeatureEncoder.fit(pa.table({"x": trained}), ["x"])
    with pytest.raises(BigQueryError, match=f"'x(_a)?' .*{message}"):
        encoder.encode(pa.table({"x": given}))


QUERY = """
  SELECT
    TIMESTAMP_ADD(TIMESTAMP '2024-01-01 00:00:00+00', INTERVAL id HOUR) AS seen,
    STRUCT(MOD(id, 7) AS a, IF(MOD(id, 2) = 0, 'even', 'odd') AS b) AS nested,
    [MOD(id, 3), MOD(id, 5)] AS vector,
    IF(MOD(id, 4) = 0, ['x', 'y'], ['y']) AS tags,
    [STRUCT(MOD(id, 6) AS k, 2.0 AS v)] AS entries,
    DATE '2024-01-01' AS day, DATETIME '2024-01-01 00:00:00' AS moment, TIME '01:00:00' AS clock, b'1' AS bytes,
    CAST(id AS NUMERIC) AS exact,
    10 * EXTRACT(HOUR FROM TIMESTAMP_ADD(TIMESTAMP '2024-01-01 00:00:00+00', INTERVAL id HOUR))
      + 3 * (MOD(id, 7)) + IF(MOD(id, 2) = 0, 5, 0) + IF(MOD(id, 4) = 0, 2, 0) + 4 * (MOD(id, 6)) AS label
  FROM UNNEST(GENERATE_ARRAY(1, 600)) AS id"""


def test_a_model_learns_from_columns_of_every_type(rows, dataset):
    """The label is a sum of terms that follow only from components, fields and elements."""
    rows(f"CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG', data_split_method='NO_SPLIT') AS {QUERY}")
    (quality,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.m, ({QUERY}))")
    assert quality["mean_absolute_error"] < 0.01
    inputs = [row["processed_input"] for row in rows(f"SELECT * FROM ML.WEIGHTS(MODEL {dataset}.m)")]
    assert inputs == [
        "seen", "_TS_DOM_seen", "_TS_DOW_seen", "_TS_MOY_seen", "_TS_HOD_seen", "_TS_MOH_seen", "_TS_WOY_seen",
        "_TS_YEAR_seen", "nested_a", "nested_b", "vector", "tags", "entries", "day", "moment", "clock", "bytes",
        "exact", "__INTERCEPT__",
    ]  # fmt: skip
    (row,) = rows(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, (SELECT * FROM ({QUERY}) LIMIT 1))")
    assert row["predicted_label"] == pytest.approx(row["label"], abs=0.05)
    assert row["nested"].keys() == {"a", "b"}


def test_a_model_on_arrays_does_not_depend_on_the_order_of_the_rows(rows, dataset):
    query = "SELECT [MOD(id, 3), MOD(id, 5)] AS v, MOD(id * 7, 11) AS label FROM UNNEST(GENERATE_ARRAY(1, 900)) AS id"
    for name, order in (("a", "id"), ("b", "MOD(id * 7919, 1201) DESC")):
        rows(f"CREATE MODEL {dataset}.{name} OPTIONS(model_type='LINEAR_REG') AS {query} ORDER BY {order}")
    found = [rows(f"SELECT * FROM ML.WEIGHTS(MODEL {dataset}.{name})") for name in ("a", "b")]
    assert found[0] == found[1]


def test_a_feature_that_is_missing_in_the_input_is_named(rows, dataset):
    rows(f"CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG') AS SELECT * FROM ({QUERY})")
    with pytest.raises(BadRequest, match="Feature column 'nested' of the model is missing"):
        rows(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, (SELECT * EXCEPT(nested) FROM ({QUERY})))")
