"""MATRIX_FACTORIZATION, ML.RECOMMEND, and the metrics of rankings.

Source of options and columns: https://cloud.google.com/bigquery/docs/reference/standard-sql/
bigqueryml-syntax-create-matrix-factorization, bigqueryml-syntax-recommend and bigqueryml-syntax-evaluate.
"""

import math

import numpy as np
import pyarrow as pa
import pytest

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.metrics import ranking_metrics
from local_bigquery.ml.model_types import model_type_of

# Two tastes: users 0 to 29 like even items, the others odd ones. Each user knows most of what it likes.
IMPLICIT = """
SELECT CONCAT('u', LPAD(CAST(u AS STRING), 2, '0')) AS user, i AS item, 1.0 + MOD(u + i, 3) AS rating
FROM UNNEST(GENERATE_ARRAY(0, 59)) AS u, UNNEST(GENERATE_ARRAY(0, 19)) AS i
WHERE MOD(i, 2) = IF(u < 30, 0, 1) AND MOD(u + DIV(i, 2), 5) != 0
"""
# A rating is the sum of what a user gives to all items and what an item gets from all users.
EXPLICIT = """
SELECT u AS reader, CONCAT('b', i) AS book, 1.0 + 0.05 * u + 0.1 * i AS stars
FROM UNNEST(GENERATE_ARRAY(0, 29)) AS u, UNNEST(GENERATE_ARRAY(0, 19)) AS i
WHERE MOD(u * 7 + i, 4) != 0
"""


@pytest.fixture(scope="module")
def shop(client):
    client.create_dataset("taste")
    client.query(
        "CREATE MODEL taste.implicit OPTIONS(model_type='MATRIX_FACTORIZATION', feedback_type='IMPLICIT', "
        f"num_factors=2, data_split_method='NO_SPLIT') AS {IMPLICIT}"
    ).result()
    client.query(
        "CREATE MODEL taste.explicit OPTIONS(model_type='MATRIX_FACTORIZATION', num_factors=2, l2_reg=0.1, "
        "user_col='reader', item_col='book', rating_col='stars', data_split_method='NO_SPLIT', max_iterations=100, "
        "early_stop=FALSE) "
        f"AS {EXPLICIT}"
    ).result()
    yield client
    client.delete_dataset("taste", delete_contents=True)


def test_all_users_get_all_items_without_an_input(rows, columns, shop):
    sql = "SELECT * FROM ML.RECOMMEND(MODEL taste.implicit)"
    assert columns(sql) == ["predicted_rating_confidence FLOAT64", "user STRING", "item INT64"]
    assert len(rows(sql)) == 60 * 20


def test_the_best_unknown_item_is_of_the_users_taste(rows, shop):
    best = rows(
        "SELECT user, ARRAY_AGG(item ORDER BY predicted_rating_confidence DESC LIMIT 10) AS items "
        "FROM ML.RECOMMEND(MODEL taste.implicit) GROUP BY user"
    )
    assert {row["user"]: {item % 2 for item in row["items"]} for row in best} == {
        f"u{user:02}": {0 if user < 30 else 1} for user in range(60)
    }


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("SELECT 'u07' AS USER", [("u07", item) for item in range(20)]),
        ("SELECT item FROM UNNEST([3, 5]) AS item", [(f"u{user:02}", item) for user in range(60) for item in (3, 5)]),
        ("SELECT 5 AS item, 'u07' AS user", [("u07", 5)]),
    ],
)
def test_an_input_chooses_users_or_items_or_pairs(rows, shop, query, pairs):
    found = rows(f"SELECT user, item FROM ML.RECOMMEND(MODEL taste.implicit, ({query})) ORDER BY 1, 2")
    assert [tuple(row.values()) for row in found] == pairs


def test_pairs_keep_the_other_columns_of_the_input(rows, columns, shop):
    sql = (
        "SELECT * FROM ML.RECOMMEND(MODEL taste.explicit, "
        "(SELECT DATE '2026-01-02' AS day, 'b3' AS book, 4 AS reader, 'x' AS note))"
    )
    assert columns(sql) == ["predicted_stars FLOAT64", "reader INT64", "book STRING", "day DATE", "note STRING"]
    (row,) = rows(sql)
    assert (row["reader"], row["book"], row["note"]) == (4, "b3", "x")


def test_explicit_ratings_are_found_again_also_unknown_ones(rows, shop):
    for row in rows("SELECT predicted_stars, reader, book FROM ML.RECOMMEND(MODEL taste.explicit)"):
        stars = 1.0 + 0.05 * row["reader"] + 0.1 * int(row["book"][1:])
        assert row["predicted_stars"] == pytest.approx(stars, abs=0.1)


def test_an_unknown_user_or_item_gets_what_does_not_depend_on_it(rows, shop):
    (row,) = rows("SELECT * FROM ML.RECOMMEND(MODEL taste.implicit, (SELECT 'nobody' AS user, 3 AS item))")
    assert row["predicted_rating_confidence"] == 0.0
    weights = {row["feature"]: row["intercept"] for row in rows("SELECT * FROM ML.WEIGHTS(MODEL taste.explicit)")}
    (row,) = rows("SELECT * FROM ML.RECOMMEND(MODEL taste.explicit, (SELECT 99 AS reader, 'b3' AS book))")
    assert row["predicted_stars"] == pytest.approx(weights["global__INTERCEPT__"] + weights["b3"])


def test_weights_are_the_factors_of_users_and_items(rows, columns, shop):
    sql = "SELECT * FROM ML.WEIGHTS(MODEL taste.explicit)"
    assert columns(sql) == [
        "processed_input STRING",
        "feature STRING",
        "factor_weights ARRAY<STRUCT<factor INT64, weight FLOAT64>>",
        "intercept FLOAT64",
    ]
    found = rows(sql)
    assert [row["processed_input"] for row in found] == ["reader"] * 30 + ["book"] * 20 + ["global__INTERCEPT__"]
    assert [weight["factor"] for weight in found[0]["factor_weights"]] == [1, 2]


def test_evaluate_returns_the_metrics_of_the_feedback_type(columns, rows, shop):
    assert columns("SELECT * FROM ML.EVALUATE(MODEL taste.implicit)") == [
        "mean_average_precision FLOAT64",
        "mean_squared_error FLOAT64",
        "normalized_discounted_cumulative_gain FLOAT64",
        "average_rank FLOAT64",
    ]
    (found,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL taste.explicit, ({EXPLICIT}))")
    assert list(found) == [
        "mean_absolute_error",
        "mean_squared_error",
        "mean_squared_log_error",
        "median_absolute_error",
        "r2_score",
        "explained_variance",
    ]
    assert found["r2_score"] > 0.999
    (found,) = rows("SELECT * FROM ML.EVALUATE(MODEL taste.implicit, (SELECT 'u00' AS user, 8 AS item, 1.0 AS rating))")
    assert found["average_rank"] < 0.5


def test_the_resource_has_the_metrics_and_options_of_the_feedback_type(shop):
    resource = shop.get_model("taste.implicit").to_api_repr()
    (run,) = resource["trainingRuns"]
    assert resource["modelType"] == "MATRIX_FACTORIZATION"
    assert set(run["evaluationMetrics"]["rankingMetrics"]) == {
        "meanAveragePrecision",
        "meanSquaredError",
        "normalizedDiscountedCumulativeGain",
        "averageRank",
    }
    options = run["trainingOptions"]
    assert (options["feedbackType"], options["numFactors"], options["userColumn"]) == ("IMPLICIT", "2", "user")
    assert [column["name"] for column in resource["labelColumns"]] == ["rating"]


def test_ranking_metrics_are_those_of_their_definitions():
    ratings = np.array([[3.0, 0.0, 1.0, 0.0]])
    predicted = np.array([[0.2, 0.9, 0.8, 0.1]])  # the items in the order 1, 2, 0, 3
    found = ranking_metrics([(ratings, predicted)])
    assert found["mean_average_precision"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["mean_squared_error"] == pytest.approx((0.8**2 + 0.9**2 + 0.2**2 + 0.1**2) / 4)
    gain, ideal = 1 / math.log2(3) + 3 / math.log2(4), 3 / math.log2(2) + 1 / math.log2(3)
    assert found["normalized_discounted_cumulative_gain"] == pytest.approx(gain / ideal)
    assert found["average_rank"] == pytest.approx((3 * 2 / 3 + 1 * 1 / 3) / 4)


def train(rows, **options):
    model_type, complete = model_type_of({"model_type": "matrix_factorization", **options})
    return model_type.train(rows, complete)


def test_implicit_factors_minimise_the_weighted_error():
    """The factors of the items, solved for last, are those of the least weighted squares."""
    users, items = np.repeat(np.arange(8), 3), np.array([0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 0] * 2)
    table = pa.table({"user": users, "item": items, "rating": np.ones(24)})
    model = train(
        table, feedback_type="IMPLICIT", num_factors=2, l2_reg=0.5, wals_alpha=3.0, data_split_method="NO_SPLIT"
    )
    x, y = model.users.factors, model.items.factors
    known = np.zeros((8, 5))
    known[users, items] = 1.0
    confidence = 1.0 + 3.0 * known
    for item in range(5):
        left = x.T @ (confidence[:, item, None] * x) + 0.5 * np.eye(2)
        assert y[item] == pytest.approx(np.linalg.solve(left, x.T @ (confidence[:, item] * known[:, item])))


def test_repeated_ratings_of_implicit_feedback_add_up():
    once = pa.table({"user": [1, 1, 2], "item": [1, 2, 2], "rating": [2.0, 1.0, 1.0]})
    twice = pa.table({"user": [1, 1, 1, 2], "item": [1, 1, 2, 2], "rating": [1.0, 1.0, 1.0, 1.0]})
    options = {"feedback_type": "IMPLICIT", "num_factors": 2, "wals_alpha": 1.0, "data_split_method": "NO_SPLIT"}
    found = [
        train(table, **options).recommend(None)["predicted_rating_confidence"].to_pylist() for table in (once, twice)
    ]
    assert found[0] == pytest.approx(found[1])


def test_held_out_rows_of_unknown_users_are_not_evaluated():
    table = pa.table(
        {
            "user": ["a", "a", "b", "z"],
            "item": [1, 2, 1, 1],
            "rating": [1.0, 2.0, 3.0, 5.0],
            "held": [False, False, True, True],
        }
    )
    with pytest.raises(BigQueryError, match="leaves no rows"):
        train(table.filter(table["held"]), data_split_method="CUSTOM", data_split_col="held")
    model = train(table, data_split_method="CUSTOM", data_split_col="held", num_factors=2)
    assert len(model.users.ids) == 1
    assert model.evaluate(None).num_rows == 1


TABLE = pa.table({"user": ["a", "a", "b"], "item": [1, 2, 1], "rating": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (TABLE, {"user_col": "customer"}, "no column 'customer'"),
        (TABLE, {"user_col": "item"}, "three columns"),
        (TABLE, {"wals_alpha": 2.0}, "goes with feedback_type 'IMPLICIT'"),
        (TABLE, {"num_factors": 1}, "from 2 to 200"),
        (TABLE, {"feedback_type": "both"}, "'EXPLICIT' or 'IMPLICIT'"),
        (TABLE, {"input_label_cols": ["rating"]}, "'input_label_cols'"),
        (TABLE, {"num_trials": 3}, "no hyperparameter tuning"),
        (TABLE.append_column("price", pa.array([1, 2, 3])), {}, "has the column 'price'"),
        (TABLE.set_column(0, "user", pa.array(["a", None, "b"])), {}, "'user' contains 1 NULL"),
        (TABLE.set_column(0, "user", pa.array([1.0, 2.0, 3.0])), {}, "cannot be the id"),
        (TABLE.set_column(2, "rating", pa.array(["x", "y", "z"])), {}, "must be a number"),
        (TABLE.set_column(2, "rating", pa.array([1.0, -2.0, 3.0])), {"feedback_type": "IMPLICIT"}, "numbers below 0"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(table, options, message):
    with pytest.raises(BigQueryError, match=message):
        train(table, **options)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM ML.PREDICT(MODEL taste.implicit, (SELECT 'u01' AS user, 1 AS item))", "ML.PREDICT is not supp"),
        ("SELECT * FROM ML.RECOMMEND(MODEL taste.implicit, (SELECT 'u01' AS user, 1 AS x))", "with one of them and no"),
        ("SELECT * FROM ML.RECOMMEND(MODEL taste.implicit, (SELECT 'u01' AS item))", "'item' is string, but was int64"),
        ("SELECT * FROM ML.RECOMMEND(MODEL taste.implicit, (SELECT 1 AS x))", "'user' and 'item'"),
        ("SELECT * FROM ML.EVALUATE(MODEL taste.implicit, (SELECT 'z' AS user, 1 AS item, 1 AS rating))", "no row"),
        ("SELECT * FROM ML.EVALUATE(MODEL taste.implicit, (SELECT 1 AS item, 1 AS rating))", "'user' is missing"),
        ("SELECT * FROM ML.WEIGHTS(MODEL taste.implicit, STRUCT(TRUE AS standardize))", "does not apply"),
        (
            "CREATE MODEL taste.t TRANSFORM(user) OPTIONS(model_type='MATRIX_FACTORIZATION') AS SELECT 1 AS user",
            "TRANSFORM is not supported",
        ),
    ],
)
def test_what_the_type_does_not_have_is_refused(shop, sql, message):
    with pytest.raises(Exception, match=message):
        shop.query(sql).result()


def test_only_a_matrix_factorization_recommends(rows, model):
    with pytest.raises(Exception, match=r"ML.RECOMMEND is not supported for models of type LOGISTIC_REG"):
        rows(f"SELECT * FROM ML.RECOMMEND(MODEL {model})")
