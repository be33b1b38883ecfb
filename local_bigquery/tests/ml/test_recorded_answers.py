"""BigQuery's own answers about the penguins, as Google recorded them in the tests of bigframes.

Source of the numbers: googleapis/python-bigquery-dataframes, tests/system/small/ml/ (test_core.py,
test_decomposition.py, test_linear_model.py, test_preprocessing.py) and the tutorial "Create a linear regression model"
of BigQuery ML's documentation. penguins.jsonl is the table bigquery-public-data.ml_datasets.penguins: 344 penguins of
the Palmer Station LTER, collected by Dr. Kristen Gorman; licence CC0 1.0.
"""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from google.cloud import bigquery

from local_bigquery.ml.features.preprocessing import learn

PENGUINS = Path(__file__).with_name("penguins.jsonl")
TEXTS = ("species", "island", "sex")
NUMBERS = ("culmen_length_mm", "culmen_depth_mm", "flipper_length_mm", "body_mass_g")
NEW_PENGUINS = """
SELECT * FROM UNNEST([
  STRUCT(1633 AS tag_number, 'Adelie Penguin (Pygoscelis adeliae)' AS species, 'Torgersen' AS island,
         39.5 AS culmen_length_mm, 18.8 AS culmen_depth_mm, 196.0 AS flipper_length_mm, 'MALE' AS sex),
  STRUCT(1672, 'Adelie Penguin (Pygoscelis adeliae)', 'Torgersen', 38.5, 17.2, 181.0, 'FEMALE'),
  STRUCT(1690, 'Chinstrap penguin (Pygoscelis antarctica)', 'Dream', 37.9, 18.1, 188.0, 'FEMALE')])
"""
NEW_MEASURES = {
    "culmen_length_mm": [39.5, 38.5, 37.9],
    "culmen_depth_mm": [18.8, 17.2, 18.1],
    "flipper_length_mm": [196.0, 181.0, 188.0],
}


def read_penguins():
    return [json.loads(line) for line in PENGUINS.read_text().splitlines()]


def recorded(digits):
    """A number as it was recorded: some are rounded, some truncated, so the last digit may be off by one."""
    return pytest.approx(float(digits), rel=1e-9, abs=1.01 * 10.0 ** -len(digits.partition(".")[2]))


@pytest.fixture(scope="module")
def penguins(client):
    client.create_dataset("birds")
    schema = [bigquery.SchemaField(name, "STRING") for name in TEXTS]
    schema += [bigquery.SchemaField(name, "FLOAT") for name in NUMBERS]
    config = bigquery.LoadJobConfig(schema=schema)
    client.load_table_from_json(read_penguins(), "demo.birds.penguins", job_config=config).result()
    yield "birds.penguins"
    client.delete_dataset("birds", delete_contents=True)


@pytest.fixture(scope="module")
def linear(client, penguins):
    client.query(
        "CREATE MODEL birds.linear OPTIONS(model_type='LINEAR_REG', input_label_cols=['body_mass_g'], "
        "data_split_method='NO_SPLIT', enable_global_explain=TRUE) "
        f"AS SELECT * FROM {penguins} WHERE body_mass_g IS NOT NULL"
    ).result()
    return "birds.linear"


# Recorded by test_model_eval in test_core.py.
ALL_ROWS = {
    "mean_absolute_error": "227.01223",
    "mean_squared_error": "81838.159892",
    "mean_squared_log_error": "0.00507",
    "median_absolute_error": "173.080816",
    "r2_score": "0.872377",
    "explained_variance": "0.872377",
}
# Recorded by test_model_eval_with_data in test_core.py.
FULL_ROWS = {
    "mean_absolute_error": "225.817334",
    "mean_squared_error": "80540.705944",
    "mean_squared_log_error": "0.004972",
    "median_absolute_error": "173.080816",
    "r2_score": "0.87529",
    "explained_variance": "0.87529",
}


@pytest.mark.parametrize("metric", ALL_ROWS)
def test_a_metric_of_the_training_rows_is_the_recorded_one(rows, linear, metric):
    (found,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {linear})")
    assert found[metric] == recorded(ALL_ROWS[metric])


@pytest.mark.parametrize("metric", FULL_ROWS)
def test_a_metric_of_the_rows_without_null_is_the_recorded_one(rows, penguins, linear, metric):
    (found,) = rows(
        f"SELECT * FROM ML.EVALUATE(MODEL {linear}, (SELECT * FROM {penguins} "
        "WHERE body_mass_g IS NOT NULL AND sex IS NOT NULL AND culmen_length_mm IS NOT NULL))"
    )
    assert found[metric] == recorded(FULL_ROWS[metric])


def test_predictions_of_new_birds_are_the_recorded_ones(rows, linear):
    found = rows(
        f"SELECT predicted_body_mass_g AS g FROM ML.PREDICT(MODEL {linear}, ({NEW_PENGUINS})) ORDER BY tag_number"
    )
    # Recorded by test_model_predict in test_core.py.
    assert [row["g"] for row in found] == [recorded("4030.1"), recorded("3280.8"), recorded("3177.9")]


# The tutorial's predictions for the island Biscoe, by length and depth of the culmen. The first bird was not measured,
# the next two have no sex.
BISCOE = {
    (None, None): "4681.782896",
    (46.2, 14.4): "4740.7907",
    (44.5, 14.3): "4731.310452",
    (45.2, 16.4): "5413.510134",
    (46.5, 14.5): "4768.351092",
    (37.7, 16.0): "3235.896372",
    (46.4, 15.6): "5349.603734",
    (46.1, 13.2): "4637.165037",
}


def test_predictions_of_birds_with_null_are_the_recorded_ones(rows, penguins, linear):
    found = rows(
        "SELECT predicted_body_mass_g AS g, culmen_length_mm AS length, culmen_depth_mm AS depth "
        f"FROM ML.PREDICT(MODEL {linear}, (SELECT * FROM {penguins} WHERE island = 'Biscoe'))"
    )
    predicted = {(row["length"], row["depth"]): row["g"] for row in found}
    assert {bird: predicted[bird] for bird in BISCOE} == {bird: recorded(digits) for bird, digits in BISCOE.items()}


def test_global_explanations_are_the_recorded_ones(rows, linear):
    found = {row["feature"]: row["attribution"] for row in rows(f"SELECT * FROM ML.GLOBAL_EXPLAIN(MODEL {linear})")}
    # test_linear_model.py: test_linear_reg_model_global_explain; those of categories depend on the solver
    assert found["flipper_length_mm"] == recorded("193.612051")
    assert found["culmen_depth_mm"] == recorded("117.084944")
    assert found["culmen_length_mm"] == recorded("94.366793")


def test_weights_name_the_null_category_only_where_training_saw_a_null(rows, linear):
    found = rows(f"SELECT processed_input AS name, category_weights AS weights FROM ML.WEIGHTS(MODEL {linear})")
    categories = {row["name"]: [weight["category"] for weight in row["weights"]] for row in found}
    # test_core.py: test_model_centroids shows the category of sex, the one column of text with NULL
    assert {name: "_null_filler" in names for name, names in categories.items() if names} == {
        "species": False,
        "island": False,
        "sex": True,
    }


# test_preprocessing.py: fitted on all penguins, then on the new ones only.
SCALED = {
    ("STANDARD_SCALER", "all"): {
        "culmen_length_mm": ["-0.811119671289163", "-0.9945520581113803", "-1.104611490204711"],
        "culmen_depth_mm": ["0.836148", "0.024748", "0.48116"],
        "flipper_length_mm": ["-0.350044", "-1.418336", "-0.9198"],
    },
    ("STANDARD_SCALER", "new"): {
        "culmen_length_mm": ["1.313249", "-0.20198", "-1.111118"],
        "culmen_depth_mm": ["1.17072", "-1.272416", "0.101848"],
        "flipper_length_mm": ["1.251089", "-1.196588", "-0.054338"],
    },
    ("MAX_ABS_SCALER", "all"): {
        "culmen_length_mm": ["0.662752", "0.645973", "0.635906"],
        "culmen_depth_mm": ["0.874419", "0.8", "0.84186"],
        "flipper_length_mm": ["0.848485", "0.78355", "0.813853"],
    },
    ("MAX_ABS_SCALER", "new"): {
        "culmen_length_mm": ["1.0", "0.974684", "0.959494"],
        "culmen_depth_mm": ["1.0", "0.914894", "0.962766"],
        "flipper_length_mm": ["1.0", "0.923469", "0.959184"],
    },
    ("MIN_MAX_SCALER", "all"): {
        "culmen_length_mm": ["0.269091", "0.232727", "0.210909"],
        "culmen_depth_mm": ["0.678571", "0.4880952", "0.595238"],
        "flipper_length_mm": ["0.40678", "0.152542", "0.271186"],
    },
    ("MIN_MAX_SCALER", "new"): {
        "culmen_length_mm": ["1.0", "0.375", "0.0"],
        "culmen_depth_mm": ["1.0", "0.0", "0.5625"],
        "flipper_length_mm": ["1.0", "0.0", "0.466667"],
    },
}


@pytest.mark.parametrize(("function", "fitted"), SCALED)
def test_a_scaler_gives_the_recorded_numbers(function, fitted):
    for name, digits in SCALED[function, fitted].items():
        new = pa.chunked_array([NEW_MEASURES[name]])
        every = pa.chunked_array([[penguin.get(name) for penguin in read_penguins()]], pa.float64())
        scaler = learn(function, every if fitted == "all" else new, ())
        # BigQuery's deviations differ a little from the exact ones, which shows most in numbers near 0. With 3 rows, a
        # division by n - 1 would differ by 18 %.
        expected = [float(number) for number in digits]
        assert scaler.apply(new).to_pylist() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_largest_vocabulary_of_an_encoder_is_a_million(client, rows, penguins):
    # bigframes sends ML.LABEL_ENCODER(column, 1000000, 0) by default, and records what BigQuery answers.
    statement = (
        "CREATE OR REPLACE MODEL birds.labels "
        "TRANSFORM(ML.LABEL_ENCODER(species, {}, 0) OVER() AS species, body_mass_g) "
        "OPTIONS(model_type='LINEAR_REG', input_label_cols=['body_mass_g']) AS "
        f"SELECT species, body_mass_g FROM {penguins} WHERE body_mass_g IS NOT NULL"
    )
    client.query(statement.format(1_000_000)).result()
    with pytest.raises(Exception, match="top_k cannot be more than 1,000,000"):
        client.query(statement.format(1_000_001)).result()


# Recorded by test_pca_model_principal_component_info in test_core.py.
PCA_INFO = {
    "eigenvalue": ["3.278657", "1.270829", "1.125354"],
    "explained_variance_ratio": ["0.469357", "0.181926", "0.1611"],
    "cumulative_explained_variance_ratio": ["0.469357", "0.651283", "0.812383"],
}
# The first component, recorded by test_pca_model_principal_components in test_core.py.
PCA_NUMBERS = {
    "culmen_length_mm": "0.401489",
    "culmen_depth_mm": "-0.377482",
    "flipper_length_mm": "0.524052",
    "body_mass_g": "0.501174",
}
PCA_CATEGORIES = {
    "Gentoo penguin (Pygoscelis papua)": 0.25068877125667804,
    "Adelie Penguin (Pygoscelis adeliae)": -0.20622291900416198,
    "Chinstrap penguin (Pygoscelis antarctica)": -0.030161149275185855,
    "Biscoe": 0.19761120114410635,
    "Dream": -0.11264736305259061,
    "Torgersen": -0.07065913511418596,
    ".": 0.0015916894448071784,
    "MALE": 0.06869704739750442,
    "FEMALE": -0.052521171596813174,
    "_null_filler": -0.0034628622681684906,
}
# Recorded by test_pca_predict in test_decomposition.py; the sign of a component is arbitrary.
PCA_PREDICTED = [
    ("1.314041", "0.889106", "0.704345"),
    ("0.855813", "1.259753", "0.322555"),
    ("1.848786", "0.983304", "0.095759"),
]


@pytest.fixture(scope="module")
def pca(client, penguins):
    client.query(
        f"CREATE MODEL birds.pca OPTIONS(model_type='pca', num_principal_components=3) AS SELECT * FROM {penguins}"
    ).result()
    return "birds.pca"


def test_principal_components_are_the_recorded_ones(rows, pca):
    info = rows(f"SELECT * FROM ML.PRINCIPAL_COMPONENT_INFO(MODEL {pca}) ORDER BY principal_component_id")
    for column, digits in PCA_INFO.items():
        assert [row[column] for row in info] == [recorded(number) for number in digits]
    (found,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {pca})")
    assert found["total_explained_variance_ratio"] == recorded("0.812383")
    first = rows(f"SELECT * FROM ML.PRINCIPAL_COMPONENTS(MODEL {pca}) WHERE principal_component_id = 0")
    numbers = {row["feature"]: row["numerical_value"] for row in first if row["numerical_value"] is not None}
    categories = {entry["category"]: entry["value"] for row in first for entry in row["categorical_value"]}
    assert numbers == {feature: recorded(number) for feature, number in PCA_NUMBERS.items()}
    assert categories == pytest.approx(PCA_CATEGORIES, rel=1e-9)


def test_coordinates_of_new_birds_are_the_recorded_ones(rows, pca):
    masses = "CASE tag_number WHEN 1633 THEN 3750.0 WHEN 1672 THEN 5200.0 ELSE 3325.0 END AS body_mass_g"
    found = rows(
        f"SELECT * FROM ML.PREDICT(MODEL {pca}, (SELECT *, {masses} FROM ({NEW_PENGUINS}))) ORDER BY tag_number"
    )
    for row, digits in zip(found, PCA_PREDICTED, strict=True):
        coordinates = [abs(row[f"principal_component_{number}"]) for number in (1, 2, 3)]
        assert coordinates == [recorded(number) for number in digits]
