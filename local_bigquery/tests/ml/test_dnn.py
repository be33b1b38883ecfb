"""DNN_CLASSIFIER and DNN_REGRESSOR."""

import numpy as np
import pyarrow as pa
import pytest

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.functions import call_function
from local_bigquery.ml.model_types import model_type_of

RANDOM = np.random.default_rng(1)
X, Y = RANDOM.normal(size=(2, 900))
KIND = RANDOM.choice(["a", "b", "c"], size=900)
NAMES = np.array(["inside", "outside"])[(X**2 + Y**2 > 1.4).astype(int)]  # no line tells them apart
ROWS = pa.table({"x": X, "y": Y, "kind": KIND, "label": NAMES})
NUMBERS = ROWS.set_column(3, "label", pa.array(1000.0 + 300.0 * np.abs(X) + 200.0 * (KIND == "a")))
MORE = {"hidden_units": [16, 8], "learn_rate": 0.02, "batch_size": 64, "max_iterations": 60, "early_stop": False}


def train(kind, rows, **options):
    model_type, complete = model_type_of({"model_type": f"dnn_{kind}", **MORE, **options})
    return model_type.train(rows, complete)


def metric(model, name):
    return model.evaluate(None)[name][0].as_py()


@pytest.fixture(scope="module", params=["RELU", "SIGMOID", "TANH"])
def classifier(request):
    return train("classifier", ROWS, activation_fn=request.param, enable_global_explain=True)


def test_a_classifier_learns_what_no_line_tells_apart(classifier):
    assert metric(classifier, "accuracy") > 0.93
    assert metric(classifier, "roc_auc") > 0.97


def test_a_regressor_learns_a_bend(classifier):
    assert metric(train("regressor", NUMBERS), "r2_score") > 0.97


def test_several_classes_are_told_apart():
    parts = pa.array(np.where(X > 0.5, "right", np.where(X < -0.5, "left", "middle")))
    assert metric(train("classifier", ROWS.set_column(3, "label", parts)), "accuracy") > 0.93


def test_attributions_add_up_and_go_to_the_features_that_matter(classifier):
    explanation = classifier.explain(ROWS)
    assert explanation.features == ("x", "y", "kind")
    scores = classifier.estimator.scores(classifier.encoder.encode(ROWS))[:, 0]
    assert explanation.prediction == pytest.approx(np.abs(scores))  # the log-odds of the predicted class
    importance = dict(zip(*classifier.global_explanation.to_pydict().values(), strict=True))
    assert min(importance["x"], importance["y"]) > importance["kind"]


def test_gradients_are_those_of_the_scores(classifier):
    network, matrix = classifier.estimator, classifier.encoder.encode(ROWS.slice(0, 20)).toarray()
    step = np.zeros_like(matrix)
    step[:, 1] = 1e-6
    slope = (network.scores(matrix + step) - network.scores(matrix - step)) / 2e-6
    assert network.gradients(matrix)[:, :, 1] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_equal_rows_in_another_order_give_the_same_model():
    first, second = (
        train("classifier", rows, max_iterations=3) for rows in (ROWS, ROWS.take(pa.array(range(899, -1, -1))))
    )
    assert first.estimator.coefs[0].tolist() == second.estimator.coefs[0].tolist()


def test_training_stops_early_at_the_loss_of_the_held_out_rows():
    model = train("classifier", ROWS, early_stop=True, min_rel_progress=0.5)
    info = model.training_info.to_pydict()
    assert 1 < len(info["iteration"]) < 60
    assert info["eval_loss"][-1] > 0.5 * info["eval_loss"][-2]


def test_class_weights_shift_the_decision():
    predicted = [
        train("classifier", ROWS, class_weights=[("inside", weight), ("outside", 1)]).predict(ROWS)["predicted_label"]
        for weight in (0.05, 20)
    ]
    few, many = (column.to_pylist().count("inside") for column in predicted)
    assert few < many


def test_the_columns_of_explanations_are_those_of_other_types(classifier):
    found = call_function("EXPLAIN_PREDICT", classifier, ROWS.slice(0, 3), {"top_k_features": 2})
    assert found.column_names[:3] == ["predicted_label", "probability", "top_feature_attributions"]
    assert [len(features) for features in found["top_feature_attributions"].to_pylist()] == [2, 2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation_fn": "CRELU"}, "can only be 'RELU' or 'SIGMOID' or 'TANH' in the local"),
        ({"optimizer": "FTRL"}, "can only be 'ADAM' or 'SGD' in the local"),
        ({"dropout": 0.3}, "'dropout' of model type DNN_CLASSIFIER can only be 0"),
        ({"hidden_units": []}, "array of whole numbers"),
        ({"hidden_units": [0]}, "at least 1"),
        ({"learn_rate": 0}, "above 0"),
        ({"hparam_tuning_objectives": ["roc_auc"]}, "no hyperparameter tuning"),
        ({"num_clusters": 3}, "'num_clusters'"),
    ],
)
def test_options_that_are_not_simulated_are_refused(options, message):
    with pytest.raises(BigQueryError, match=message):
        train("classifier", ROWS, **options)


def test_a_network_is_trained_and_called_in_sql(client, rows, columns, customers):
    client.create_dataset("networks")
    try:
        client.query(
            "CREATE MODEL networks.m OPTIONS(model_type='DNN_CLASSIFIER', hidden_units=[8], max_iterations=3, "
            f"input_label_cols=['bought']) AS SELECT * EXCEPT(id) FROM {customers}"
        ).result()
        assert columns(f"SELECT * FROM ML.PREDICT(MODEL networks.m, (SELECT * FROM {customers}))")[:2] == [
            "predicted_bought INT64",
            "predicted_bought_probs ARRAY<STRUCT<label INT64, prob FLOAT64>>",
        ]
        options = client.get_model("networks.m").to_api_repr()["trainingRuns"][0]["trainingOptions"]
        assert (options["hiddenUnits"], options["activationFn"], options["batchSize"]) == (["8"], "RELU", "1024")
    finally:
        client.delete_dataset("networks", delete_contents=True)
