"""ML.EVALUATE, ML.ROC_CURVE and ML.CONFUSION_MATRIX agree with scikit-learn."""

import numpy as np
import pytest
from google.api_core.exceptions import BadRequest
from sklearn import metrics

CLASSIFICATION = ["precision", "recall", "accuracy", "f1_score", "log_loss", "roc_auc"]
REGRESSION = [
    "mean_absolute_error", "mean_squared_error", "mean_squared_log_error", "median_absolute_error", "r2_score",
    "explained_variance",
]  # fmt: skip
CURVE = [
    "threshold FLOAT64", "recall FLOAT64", "false_positive_rate FLOAT64", "true_positives INT64",
    "false_positives INT64", "true_negatives INT64", "false_negatives INT64",
]  # fmt: skip


@pytest.fixture(scope="module")
def judged(rows, zoo):
    """Returns the labels, the predictions and the probabilities by class of a model's rows that meet a condition."""

    def judge(name, condition="TRUE"):
        found = rows(f"SELECT * FROM ML.PREDICT(MODEL {zoo}.{name}, TABLE {zoo}.{name}_rows) WHERE {condition}")
        probabilities = [{entry["label"]: entry["prob"] for entry in row["predicted_y_probs"]} for row in found]
        return [row["y"] for row in found], [row["predicted_y"] for row in found], probabilities

    return judge


@pytest.mark.parametrize("name", ["binary", "multiclass", "trees", "forest"])
def test_metrics_of_a_classification_are_those_of_scikit_learn(rows, columns, zoo, judged, name):
    sql = f"SELECT * FROM ML.EVALUATE(MODEL {zoo}.{name}, TABLE {zoo}.{name}_rows)"
    assert columns(sql) == [f"{metric} FLOAT64" for metric in CLASSIFICATION]
    actual, predicted, probabilities = judged(name)
    labels = sorted(set(actual))
    matrix = np.array([[row[label] for label in labels] for row in probabilities])
    average = "binary" if len(labels) == 2 else "macro"
    (found,) = rows(sql)
    assert found == pytest.approx(
        {
            "precision": metrics.precision_score(actual, predicted, average=average),
            "recall": metrics.recall_score(actual, predicted, average=average),
            "accuracy": metrics.accuracy_score(actual, predicted),
            "f1_score": metrics.f1_score(actual, predicted, average=average),
            "log_loss": metrics.log_loss(actual, matrix, labels=labels),
            "roc_auc": metrics.roc_auc_score(actual, matrix[:, 1] if len(labels) == 2 else matrix, multi_class="ovr"),
        },
        abs=1e-9,
    )


@pytest.mark.parametrize("name", ["linear", "tree_numbers"])
def test_metrics_of_a_regression_are_those_of_scikit_learn_with_the_lower_median(rows, columns, zoo, name):
    sql = f"SELECT * FROM ML.EVALUATE(MODEL {zoo}.{name}, TABLE {zoo}.{name}_rows)"
    assert columns(sql) == [f"{metric} FLOAT64" for metric in REGRESSION]
    found = rows(f"SELECT y, predicted_y FROM ML.PREDICT(MODEL {zoo}.{name}, TABLE {zoo}.{name}_rows)")
    actual, predicted = [row["y"] for row in found], [row["predicted_y"] for row in found]
    (evaluated,) = rows(sql)
    assert evaluated == pytest.approx(
        {
            "mean_absolute_error": metrics.mean_absolute_error(actual, predicted),
            "mean_squared_error": metrics.mean_squared_error(actual, predicted),
            "mean_squared_log_error": np.mean((np.log1p(actual) - np.log1p(predicted)) ** 2),
            "median_absolute_error": sorted(abs(a - p) for a, p in zip(actual, predicted, strict=True))[
                (len(actual) - 1) // 2
            ],
            "r2_score": metrics.r2_score(actual, predicted),
            "explained_variance": metrics.explained_variance_score(actual, predicted),
        },
        abs=1e-9,
    )


def test_metrics_of_clusters_without_an_input_are_those_of_the_training_rows(rows, columns, zoo):
    sql = f"SELECT * FROM ML.EVALUATE(MODEL {zoo}.clusters)"
    assert columns(sql) == ["davies_bouldin_index FLOAT64", "mean_squared_distance FLOAT64"]
    (at_training,) = rows(sql)
    (now,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {zoo}.clusters, TABLE {zoo}.linear_rows)")
    assert at_training == pytest.approx(now)


@pytest.mark.parametrize("name", ["binary", "multiclass", "linear", "trees", "forest", "tree_numbers"])
def test_without_an_input_the_held_out_rows_are_evaluated(rows, zoo, name):
    (at_training,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {zoo}.{name})")
    (now,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {zoo}.{name}, (SELECT * FROM {zoo}.{name}_rows WHERE held_out))")
    assert at_training == pytest.approx(now, abs=1e-9)


def test_the_precision_of_no_positive_prediction_is_nan(rows, zoo):
    (found,) = rows(
        f"SELECT * FROM ML.EVALUATE(MODEL {zoo}.binary, (SELECT * FROM {zoo}.binary_rows WHERE recency > 9), "
        "STRUCT(1.0 AS threshold))"
    )
    assert np.isnan(found["precision"])
    assert found["recall"] == 0


@pytest.mark.parametrize("name", ["binary", "trees"])
def test_the_roc_curve_has_a_row_for_each_given_threshold(rows, columns, zoo, judged, name):
    sql = (
        f"SELECT * FROM ML.ROC_CURVE(MODEL {zoo}.{name}, TABLE {zoo}.{name}_rows, GENERATE_ARRAY(0.1, 0.9, 0.1)) "
        "ORDER BY threshold"
    )
    assert columns(sql) == CURVE
    actual, _, probabilities = judged(name)
    found = rows(sql)
    assert [row["threshold"] for row in found] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    for row in found:
        decided = [int(probability[1] >= row["threshold"]) for probability in probabilities]
        (true_negatives, false_positives), (false_negatives, true_positives) = metrics.confusion_matrix(actual, decided)
        assert row == {
            "threshold": row["threshold"],
            "recall": pytest.approx(true_positives / (true_positives + false_negatives)),
            "false_positive_rate": pytest.approx(false_positives / (false_positives + true_negatives)),
            "true_positives": true_positives,
            "false_positives": false_positives,
            "true_negatives": true_negatives,
            "false_negatives": false_negatives,
        }


def test_thresholds_are_percentiles_of_the_probabilities(rows, zoo, judged):
    actual, _, probabilities = judged("binary", "held_out")
    scores = [probability[1] for probability in probabilities]
    found = rows(f"SELECT * FROM ML.ROC_CURVE(MODEL {zoo}.binary) ORDER BY threshold DESC")
    assert 2 < len(found) <= 101
    assert {round(row["threshold"], 9) for row in found} <= {round(score, 9) for score in scores}
    assert found[0]["threshold"] == pytest.approx(max(scores))
    assert found[-1]["threshold"] == pytest.approx(min(scores))
    assert (found[-1]["recall"], found[-1]["false_positive_rate"]) == (1, 1)
    x = [0, *(row["false_positive_rate"] for row in found)]
    y = [0, *(row["recall"] for row in found)]
    assert metrics.auc(x, y) == pytest.approx(metrics.roc_auc_score(actual, scores), abs=0.01)


def test_a_curve_without_positives_has_no_recall(rows, zoo):
    found = rows(
        f"SELECT * FROM ML.ROC_CURVE(MODEL {zoo}.binary, (SELECT * FROM {zoo}.binary_rows WHERE y = 0), [0.5])"
    )
    assert [(row["threshold"], row["recall"], row["true_positives"]) for row in found] == [(0.5, None, 0)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("binary", ["expected_label INT64", "_0 INT64", "_1 INT64"]),
        ("multiclass", ["expected_label STRING", "low INT64", "mid INT64", "top INT64"]),
        ("forest", ["expected_label STRING", "low INT64", "mid INT64", "top INT64"]),
    ],
)
def test_the_confusion_matrix_is_that_of_scikit_learn(rows, columns, zoo, judged, name, expected):
    for source, condition in ((f", TABLE {zoo}.{name}_rows", "TRUE"), ("", "held_out")):
        sql = f"SELECT * FROM ML.CONFUSION_MATRIX(MODEL {zoo}.{name}{source}) ORDER BY expected_label"
        assert columns(sql) == expected
        actual, predicted, _ = judged(name, condition)
        found = [list(row.values()) for row in rows(sql)]
        assert [row[0] for row in found] == sorted(set(actual))
        assert [row[1:] for row in found] == metrics.confusion_matrix(actual, predicted).tolist()


def test_the_confusion_matrix_has_rows_for_the_labels_that_occur_and_columns_for_all(rows, zoo):
    found = rows(
        f"SELECT * FROM ML.CONFUSION_MATRIX(MODEL {zoo}.binary, "
        f"(SELECT * REPLACE(CAST(y AS STRING) AS y) FROM {zoo}.binary_rows WHERE y = 1), STRUCT(0.9 AS threshold))"
    )
    count = rows(f"SELECT COUNT(*) AS n FROM {zoo}.binary_rows WHERE y = 1")[0]["n"]
    assert [row["expected_label"] for row in found] == ["1"]
    assert found[0]["_0"] + found[0]["_1"] == count
    assert found[0]["_0"] > 0


def test_labels_become_column_names(rows, dataset):
    rows(f"""
        CREATE MODEL {dataset}.m OPTIONS(model_type='LOGISTIC_REG', input_label_cols=['y']) AS
        SELECT x, CASE x WHEN 0 THEN ' <=50K' WHEN 1 THEN ' >50K' WHEN 2 THEN '2nd' ELSE 'Expected_Label' END AS y
        FROM UNNEST([0, 1, 2, 3, 0, 1, 2, 3]) AS x""")
    (row, *_) = rows(f"SELECT * FROM ML.CONFUSION_MATRIX(MODEL {dataset}.m)")
    assert list(row) == ["expected_label", "___50K", "__50K", "_2nd", "Expected_Label_1"]


def test_a_column_of_the_input_does_not_change_the_type_of_a_metric(columns, zoo):
    source = f"(SELECT *, 'x' AS recall, 'y' AS expected_label FROM {zoo}.binary_rows)"
    assert columns(f"SELECT recall FROM ML.EVALUATE(MODEL {zoo}.binary, {source})") == ["recall FLOAT64"]
    assert columns(f"SELECT expected_label FROM ML.CONFUSION_MATRIX(MODEL {zoo}.binary, {source})") == [
        "expected_label INT64"
    ]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("ML.EVALUATE(MODEL {z}.binary, STRUCT(0.5 AS threshold))", "ML.EVALUATE: a threshold needs an input"),
        ("ML.EVALUATE(MODEL {z}.clusters, TABLE {z}.linear_rows, STRUCT(0.5 AS threshold))", "threshold"),
        ("ML.EVALUATE(MODEL {z}.linear, TABLE {z}.linear_rows, STRUCT(0.5 AS threshold))", "threshold"),
        ("ML.ROC_CURVE(MODEL {z}.linear)", "ML.ROC_CURVE is not supported for models of type LINEAR_REG"),
        ("ML.ROC_CURVE(MODEL {z}.clusters)", "ML.ROC_CURVE is not supported for models of type KMEANS"),
        ("ML.ROC_CURVE(MODEL {z}.multiclass)", "two classes"),
        ("ML.ROC_CURVE(MODEL {z}.binary, GENERATE_ARRAY(0.5, 2, 0.5))", "'thresholds' of ML.ROC_CURVE"),
        ("ML.ROC_CURVE(MODEL {z}.binary, GENERATE_ARRAY(0.1, 0.9, 0))", "GENERATE_ARRAY"),
        ("ML.ROC_CURVE(MODEL {z}.binary, GENERATE_ARRAY(0, 1, 1e-12))", "GENERATE_ARRAY makes 1000000000001 numbers"),
        ("ML.EVALUATE(MODEL {z}.binary, GENERATE_ARRAY(0.1, 0.9, 0.1))", "'thresholds' of ML.EVALUATE"),
        ("ML.CONFUSION_MATRIX(MODEL {z}.tree_numbers)", "ML.CONFUSION_MATRIX .* BOOSTED_TREE_REGRESSOR"),
        ("ML.CONFUSION_MATRIX(MODEL {z}.binary, STRUCT(0.5 AS threshold))", "a threshold needs an input"),
        ("ML.CONFUSION_MATRIX(MODEL {z}.forest, TABLE {z}.forest_rows, STRUCT(0.5 AS threshold))", "two classes"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(rows, zoo, sql, message):
    with pytest.raises(BadRequest, match=message):
        rows(f"SELECT * FROM {sql.format(z=zoo)}")
