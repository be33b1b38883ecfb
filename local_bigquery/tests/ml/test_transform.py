"""The TRANSFORM clause learns in training, and applies in prediction, evaluation and explanation."""

import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from google.api_core.exceptions import BadRequest
from sklearn import linear_model, preprocessing

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.features.preprocessing import learn
from local_bigquery.ml.features.transform import Transform


def result(function, values, *arguments):
    """Return the results of a function for the values that it learned from."""
    column = pa.chunked_array([pa.array(values)])
    return learn(function, column, arguments).apply(column).to_pylist()


FIVE = 2**0.5
LETTERS = [None, "a", "b", "b", "c", "c", "c", "d", "d"]


@pytest.mark.parametrize(
    ("function", "values", "arguments", "expected"),
    [
        ("STANDARD_SCALER", [1, 5, 2, 4, 3], (), [-FIVE, FIVE, -FIVE / 2, FIVE / 2, 0.0]),
        ("MIN_MAX_SCALER", [1, 2, 3, 4, 5], (), [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("MAX_ABS_SCALER", [0, -2, 1, None], (), [0.0, -1.0, 0.5, None]),
        ("ROBUST_SCALER", [None, -3, 1, 2, 3, 4, 5], (), [None, -5 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0]),
        ("ROBUST_SCALER", [None, -3, 1, 2, 3, 4, 5], ([25, 75], False, False), [None, -3.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ("QUANTILE_BUCKETIZE", [1, 2, 3, 4, 5], (3,), ["bin_1", "bin_2", "bin_2", "bin_3", "bin_3"]),
        ("QUANTILE_BUCKETIZE", [1, 2, 3], (2, "bucket_ranges"), ["(-inf, 2)", "[2, +inf)", "[2, +inf)"]),
        ("BUCKETIZE", [2.5, None], ([1, 2, 3],), ["bin_3", None]),
        ("BUCKETIZE", [2.5], ([1, 2, 3], True), ["bin_2"]),
        ("BUCKETIZE", [2.5], ([1, 2, 3], False, "bucket_ranges"), ["[2, 3)"]),
        ("BUCKETIZE", [2.5], ([1, 2, 3], False, "bucket_ranges_json"), ['{"start": "2", "end": "3"}']),
        ("IMPUTER", [None, -3, -3, -3, 1, 2, 3, 4, 5], ("mean",), [0.75, -3.0, -3.0, -3.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ("IMPUTER", [None, 1, 2, 9], ("median",), [2.0, 1.0, 2.0, 9.0]),
        ("IMPUTER", [None, None, None, "a", "a", "b", "c", "c", "c"], ("most_frequent",), [*"cccaabccc"]),
        ("LABEL_ENCODER", LETTERS, (2, 2), [0, 0, 1, 1, 2, 2, 2, 0, 0]),
        ("LABEL_ENCODER", LETTERS, (), [0] * 9),
        (
            "ONE_HOT_ENCODER",
            LETTERS,
            ("most_frequent", 10, 0),
            [[{"index": i, "value": float(i != 3)}] for i in (0, 1, 2, 2, 3, 3, 3, 4, 4)],
        ),
        (
            "FEATURE_CROSS",
            [{"f1": "a", "f2": "b", "f3": "c"}, {"f1": None, "f2": "b", "f3": "c"}],
            (),
            [{"f1_f2": "a_b", "f1_f3": "a_c", "f2_f3": "b_c"}, {"f1_f2": None, "f1_f3": None, "f2_f3": "b_c"}],
        ),
    ],
)  # fmt: skip
def test_functions_return_what_their_documentation_shows(function, values, arguments, expected):
    found = result(function, values, *arguments)
    if isinstance(expected[-1], float):
        assert found == [None if value is None else pytest.approx(value, abs=1e-12) for value in expected]
    else:
        assert found == expected


def test_scalers_are_those_of_scikit_learn():
    values = np.random.default_rng(0).normal(3, 2, 500)
    column = values[:, np.newaxis]
    assert result("MIN_MAX_SCALER", values) == pytest.approx(preprocessing.minmax_scale(column)[:, 0])
    assert result("MAX_ABS_SCALER", values) == pytest.approx(preprocessing.maxabs_scale(column)[:, 0])
    assert result("STANDARD_SCALER", values) == pytest.approx(preprocessing.scale(column)[:, 0])


@pytest.mark.parametrize("function", ["STANDARD_SCALER", "MIN_MAX_SCALER", "MAX_ABS_SCALER", "ROBUST_SCALER"])
@pytest.mark.parametrize("values", [[7.0, 7.0], [0.0], pa.array([None], pa.float64())])
def test_a_constant_column_is_scaled_to_finite_numbers(function, values):
    assert all(value is None or np.isfinite(value) for value in result(function, values))


@pytest.mark.parametrize(
    ("function", "values", "arguments", "message"),
    [
        ("STANDARD_SCALER", ["a"], (), "ML.STANDARD_SCALER needs a number, not string"),
        ("STANDARD_SCALER", [1], (2,), "ML.STANDARD_SCALER takes 1 arguments, not 2"),
        ("STANDARD_SCALER", [float("nan")], (), "NaN"),
        ("BUCKETIZE", [1], (), "takes 2 to 4 arguments, not 1"),
        ("BUCKETIZE", [1], ([2, 1],), "ascending"),
        ("BUCKETIZE", [1], (["a"],), "array of finite numbers"),
        ("BUCKETIZE", [1], ([1], False, "nice"), "output_format must be 'BUCKET_NAMES'"),
        ("QUANTILE_BUCKETIZE", [1], (0,), "num_buckets must be a whole number of at least 1"),
        ("ROBUST_SCALER", [1], ([75, 25],), "quantile_range"),
        ("IMPUTER", ["a"], ("mean",), "needs a number, not a STRING"),
        ("IMPUTER", [1], ("mode",), "strategy must be"),
        ("LABEL_ENCODER", [1], (), "ML.LABEL_ENCODER needs a STRING, not int64"),
        ("LABEL_ENCODER", ["a"], (1_000_001,), "cannot be more than 1,000,000"),
        ("ONE_HOT_ENCODER", ["a"], ("all",), "drop must be"),
        ("FEATURE_CROSS", [{"a": "x"}], (), "2 to 10 fields"),
        ("FEATURE_CROSS", [{"a": "x", "b": 1}], (), "field 'b' is int64"),
        ("FEATURE_CROSS", [{"a": "x", "b": "y"}], (5,), "degree must be 2, 3 or 4"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_name_of_the_function(function, values, arguments, message):
    with pytest.raises(BigQueryError, match=message):
        result(function, values, *arguments)


COLUMNS = {"a": [], "x": [], "y": [], "q": [], "st": ["f", "g"], "label": []}


def parsed(clause):
    tree = sqlglot.parse_one(f"CREATE MODEL d.m TRANSFORM({clause}) OPTIONS(k=1) AS SELECT 1", read="bigquery")
    return Transform.parse(tree.args["properties"].expressions[0].expressions, COLUMNS, ["label"])


@pytest.mark.parametrize(
    ("clause", "outputs"),
    [
        ("*", ["a", "x", "y", "q", "st", "label"]),
        ("* EXCEPT(q, st) REPLACE(LOWER(a) AS a)", ["a", "x", "y", "label"]),
        ("st.*, st.f AS again, LABEL, x + 1 AS x", ["f", "g", "again", "LABEL", "x"]),
    ],
)
def test_a_select_list_names_the_columns_of_the_model(clause, outputs):
    assert list(parsed(clause).outputs) == outputs


def test_functions_of_functions_need_no_second_step_and_sql_of_functions_does():
    nested = "ML.STANDARD_SCALER(ML.IMPUTER(x, 'mean') OVER()) OVER() AS s"
    crossed = "ML.FEATURE_CROSS(STRUCT(ML.BUCKETIZE(x, [1]) AS b, a)) AS c"
    assert len(parsed(f"{nested}, {crossed}, label").steps) == 1
    assert len(parsed("CONCAT(ML.BUCKETIZE(x, [1]), a) AS c, label").steps) == 2


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("x + 1, label", r"without a name: x \+ 1"),
        ("x, X, label", "two columns 'X'"),
        ("SUM(x) AS s, label", r"SUM\(x\): aggregate functions"),
        ("ROW_NUMBER() OVER() AS s, label", "analytic functions"),
        ("(SELECT 1) AS s, label", "subqueries"),
        ("d.f(x) AS s, label", "user-defined functions"),
        ("x > @p AS s, label", "query parameters"),
        ("x", "must hold the column 'label' as it is"),
        ("x, label + 0 AS label", "must hold the column 'label' as it is"),
        ("* EXCEPT(z)", "names z, which is no column"),
        ("x.*, label", "STRUCT"),
        ("ML.STANDARD_SCALER(x) AS s, label", r"ML.STANDARD_SCALER needs OVER\(\)"),
        ("ML.STANDARD_SCALER(x) OVER(PARTITION BY y) AS s, label", r"needs an empty OVER\(\)"),
        ("ML.BUCKETIZE(x, [1]) OVER() AS s, label", r"ML.BUCKETIZE takes no OVER\(\)"),
        ("ML.NGRAMS(a, [1]) AS s, label", "ML.NGRAMS is not supported in TRANSFORM by the local BigQuery ML; it has"),
        ("ML.FEATURE_CROSS(STRUCT(LOWER(a), q)) AS s, label", r"needs a name for LOWER\(a\)"),
    ],
)
def test_what_the_clause_cannot_hold_is_refused(clause, message):
    with pytest.raises(BigQueryError, match=message):
        parsed(clause)


CLAUSE = """
  ML.STANDARD_SCALER(recency) OVER() AS recency,
  ML.MIN_MAX_SCALER(ML.IMPUTER(frequency, 'median') OVER()) OVER() AS scaled,
  ML.ONE_HOT_ENCODER(IFNULL(city, 'none')) OVER() AS city,
  bought"""


@pytest.fixture(scope="module")
def transformed(rows, customers):
    """The name of a logistic regression on the customers with the clause `CLAUSE`."""
    rows(
        f"CREATE MODEL shared.transformed TRANSFORM({CLAUSE}) OPTIONS(model_type='LOGISTIC_REG', l2_reg=0.001, "
        f"input_label_cols=['bought'], data_split_method='NO_SPLIT') AS SELECT * FROM {customers}"
    )
    return "shared.transformed"


def features(table):
    """Return the customers as scikit-learn transforms them in the way of `CLAUSE`."""
    recency = preprocessing.scale([[row["recency"]] for row in table])
    known = sorted(row["frequency"] for row in table if row["frequency"] is not None)
    median = known[(len(known) - 1) // 2]
    frequency = [[median if row["frequency"] is None else row["frequency"]] for row in table]
    scaled = preprocessing.scale(preprocessing.minmax_scale(frequency))  # standardised again, like every number
    city = preprocessing.OneHotEncoder(sparse_output=False).fit_transform([[row["city"] or "none"] for row in table])
    return np.column_stack([recency, scaled, city])


def test_a_model_is_trained_on_what_the_clause_makes(rows, customers, transformed):
    table = rows(f"SELECT * FROM {customers} ORDER BY id")
    matrix, label = features(table), [row["bought"] for row in table]
    reference = linear_model.LogisticRegression(C=1 / (0.001 * len(table)), tol=1e-9, max_iter=10_000)
    expected = reference.fit(matrix, label).predict_proba(matrix)[:, 1]
    found = rows(f"SELECT * FROM ML.PREDICT(MODEL {transformed}, TABLE {customers}) ORDER BY id")
    probabilities = [p["prob"] for row in found for p in row["predicted_bought_probs"] if p["label"] == 1]
    assert probabilities == pytest.approx(expected, abs=1e-6)
    (quality,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {transformed}, TABLE {customers})")
    assert quality == pytest.approx(rows(f"SELECT * FROM ML.EVALUATE(MODEL {transformed})")[0])
    assert quality["accuracy"] == pytest.approx(np.mean((expected > 0.5) == np.array(label)))


def test_prediction_takes_the_columns_of_the_training_query_and_returns_them(rows, customers, transformed):
    (row,) = rows(f"""
        SELECT * FROM ML.PREDICT(MODEL {transformed}, (
          SELECT 'x' AS note, recency, frequency, city FROM {customers} WHERE id = 7))""")
    (source,) = rows(f"SELECT recency, frequency, city FROM {customers} WHERE id = 7")
    assert {name: value for name, value in row.items() if not name.startswith("predicted_")} == {"note": "x", **source}


def test_what_was_learned_in_training_is_applied_whatever_the_input_looks_like(rows, customers, transformed):
    """A transform that learned from the input would see one value and one category."""
    everyone = rows(f"SELECT * FROM ML.PREDICT(MODEL {transformed}, TABLE {customers}) WHERE id IN (1, 11, 14)")
    for row in everyone:
        (alone,) = rows(
            f"SELECT * FROM ML.PREDICT(MODEL {transformed}, (SELECT * FROM {customers} WHERE id = {row['id']}))"
        )
        assert alone["predicted_bought_probs"] == row["predicted_bought_probs"]


def test_explanations_name_the_columns_of_the_clause(rows, customers, transformed):
    (row,) = rows(f"SELECT * FROM ML.EXPLAIN_PREDICT(MODEL {transformed}, (SELECT * FROM {customers} WHERE id = 1))")
    assert {entry["feature"] for entry in row["top_feature_attributions"]} == {"recency", "scaled", "city"}
    assert row["id"] == 1
    weights = rows(f"SELECT processed_input FROM ML.WEIGHTS(MODEL {transformed})")
    assert [weight["processed_input"] for weight in weights] == ["recency", "scaled", "city", "__INTERCEPT__"]


def test_the_model_resource_and_feature_info_describe_the_columns_of_the_training_query(client, rows, transformed):
    info = rows(f"SELECT input FROM ML.FEATURE_INFO(MODEL {transformed})")
    assert [row["input"] for row in info] == ["recency", "frequency", "city"]
    model = client.get_model(transformed)
    assert {field.name for field in model.feature_columns} == {"recency", "frequency", "city"}
    assert [field.name for field in model.label_columns] == ["bought"]
    assert [(column.name, column.type_.type_kind) for column in model.transform_columns] == [
        ("recency", "FLOAT64"), ("scaled", "FLOAT64"), ("city", "ARRAY"), ("bought", "INT64"),
    ]  # fmt: skip
    assert model.transform_columns[0].transform_sql == "ML.STANDARD_SCALER(recency) OVER ()"


def test_a_split_column_and_sql_around_a_function_work_in_a_clause(rows, dataset, customers):
    rows(f"""
        CREATE MODEL {dataset}.m
        TRANSFORM(
          CONCAT(ML.BUCKETIZE(recency, GENERATE_ARRAY(1, 9, 2)), '!') AS bucket,
          ML.FEATURE_CROSS(
            STRUCT(ML.QUANTILE_BUCKETIZE(recency, 3) OVER() AS r, CAST(member AS STRING) AS m)) AS crossed,
          held_out, label)
        OPTIONS(model_type='LINEAR_REG', data_split_method='CUSTOM', data_split_col='held_out')
        AS SELECT recency, member, MOD(id, 5) = 0 AS held_out,
          DIV(CAST(recency * 10 AS INT64), 20) + IF(member, 100, 0) AS label FROM {customers}""")
    weights = rows(f"SELECT processed_input, category_weights FROM ML.WEIGHTS(MODEL {dataset}.m)")
    assert [row["processed_input"] for row in weights] == ["bucket", "crossed_r_m", "__INTERCEPT__"]
    names = {entry["category"] for entry in weights[0]["category_weights"]}
    assert names == {f"bin_{number}!" for number in range(1, 7)}
    assert {entry["category"] for entry in weights[1]["category_weights"]} >= {"bin_1_true", "bin_3_false"}
    (low,) = rows(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 0.5 AS recency, FALSE AS member))")
    (high,) = rows(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 0.5 AS recency, TRUE AS member))")
    assert high["predicted_label"] - low["predicted_label"] == pytest.approx(100, abs=1)


def test_expressions_of_a_clause_mean_what_they_mean_in_bigquery(rows, dataset, customers):
    rows(f"""
        CREATE MODEL {dataset}.m
        TRANSFORM(
          3 * MOD(id, 7) AS m, EXTRACT(DAYOFWEEK FROM day) AS d, IF(id > 600, 'a', 'it\\'s') AS s, nested.x, label)
        OPTIONS(model_type='LINEAR_REG', data_split_method='NO_SPLIT')
        AS SELECT id, DATE_ADD(DATE '2024-01-01', INTERVAL id DAY) AS day, STRUCT(MOD(id, 5) AS x) AS nested,
          3 * MOD(id, 7) + 50 * EXTRACT(DAYOFWEEK FROM DATE_ADD(DATE '2024-01-01', INTERVAL id DAY))
            + 1000 * MOD(id, 5) + IF(id > 600, 5000, 0) AS label
        FROM {customers}""")
    (quality,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.m)")
    assert quality["mean_absolute_error"] < 0.1
    (weights,) = rows(f"SELECT weight FROM ML.WEIGHTS(MODEL {dataset}.m) WHERE processed_input = 'x'")
    assert weights["weight"] == pytest.approx(1000, rel=1e-4)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("ML.PREDICT(MODEL {m}, (SELECT recency, city FROM {t}))", "Column 'frequency', which the TRANSFORM clause"),
        ("ML.PREDICT(MODEL {m}, (SELECT * REPLACE('x' AS recency) FROM {t}))", "ML.STANDARD_SCALER needs a number"),
        ("ML.EVALUATE(MODEL {m}, (SELECT * EXCEPT(bought) FROM {t}))", "label column 'bought' is missing"),
    ],
)
def test_an_input_that_does_not_fit_the_clause_is_refused(rows, customers, transformed, sql, message):
    with pytest.raises(BadRequest, match=message):
        rows(f"SELECT * FROM {sql.format(m=transformed, t=customers)}")


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("recency", "must hold the column 'id'"),
        ("nothing, id", "nothing"),
        ("ML.LABEL_ENCODER(recency) OVER() AS r, id", "ML.LABEL_ENCODER needs a STRING"),
    ],
)
def test_a_clause_that_does_not_fit_the_query_is_refused(rows, customers, clause, message):
    with pytest.raises(BadRequest, match=message):
        rows(
            f"CREATE MODEL shared.never TRANSFORM({clause}) OPTIONS(model_type='LINEAR_REG', input_label_cols=['id']) "
            f"AS SELECT id, recency FROM {customers}"
        )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ML.BUCKETIZE(recency, [1]) AS b FROM {t}",
        "SELECT ML.STANDARD_SCALER(recency) OVER() AS b FROM {t}",
        "CREATE MODEL shared.never OPTIONS(model_type='LINEAR_REG') AS SELECT ML.NGRAMS([city], [1]) AS b FROM {t}",
        "SELECT * FROM ML.PREDICT(MODEL {m}, (SELECT ML.BUCKETIZE(recency, [1]) AS recency FROM {t}))",
    ],
)
def test_outside_of_the_clause_a_function_is_refused_with_its_name(rows, customers, transformed, sql):
    with pytest.raises(BadRequest, match=r"ML\.[A-Z_]+ is not supported here .* put it into the TRANSFORM clause"):
        rows(sql.format(t=customers, m=transformed))
