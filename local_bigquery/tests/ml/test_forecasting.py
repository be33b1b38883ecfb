"""ARIMA_PLUS: the likelihood by its definition, forecasts of series whose future is known, BigQuery's recorded answers.

visits.csv has the daily visits of Google's merchandise store (bigquery-public-data.google_analytics_sample), as
bigframes has them in tests/data/time_series.jsonl (Apache-2.0).
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from google.cloud import bigquery
from scipy import signal

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.metrics import forecast_metrics
from local_bigquery.ml.model_types import model_type_of
from local_bigquery.ml.models.arima import Order, _autocovariances, _likelihood, candidates, fit

VISITS = [line.split(",") for line in Path(__file__).with_name("visits.csv").read_text().splitlines()]
START = datetime(2026, 1, 5, tzinfo=UTC)
COLUMNS = {"time_series_timestamp_col": "day", "time_series_data_col": "sold"}


def table(values, step=timedelta(days=1), **more):
    days = pa.array([START + number * step for number in range(len(values))], pa.timestamp("us", "UTC"))
    return pa.table({"day": days, "sold": pa.array([float(value) for value in values]), **more})


def train(rows, **options):
    model_type, complete = model_type_of({"model_type": "arima_plus", **COLUMNS, **options})
    return model_type.train(rows, complete)


@pytest.mark.parametrize(("ar", "ma"), [([0.6, -0.2], [0.4]), ([0.5], [0.4, 0.3, -0.2]), ([], [0.7]), ([0.9], [])])
def test_the_likelihood_is_that_of_the_whole_covariance(ar, ma):
    values = np.random.default_rng(1).normal(size=15)
    covariances = _autocovariances(np.array(ar), np.array(ma), 15)
    whole = np.array([[covariances[abs(i - j)] for j in range(15)] for i in range(15)])
    variance = values @ np.linalg.solve(whole, values) / 15
    expected = -0.5 * (15 * (np.log(2 * np.pi * variance) + 1) + np.linalg.slogdet(whole)[1])
    found = _likelihood(values, np.array(ar), np.array(ma), Order(len(ar), 0, len(ma), has_drift=False))
    assert found == pytest.approx((expected, 0.0, variance))


def test_the_coefficients_of_a_simulated_process_are_found():
    noise = np.random.default_rng(2).normal(size=4000)
    model = fit(signal.lfilter([1, 0.4], [1, -0.6, 0.2], noise) * 3 + 5, Order(2, 0, 1, has_drift=True))
    assert model.ar == pytest.approx([0.6, -0.2], abs=0.1)
    assert model.ma == pytest.approx([0.4], abs=0.1)
    assert (model.drift, model.variance) == (pytest.approx(5, abs=0.3), pytest.approx(9, rel=0.05))


def test_a_random_walk_with_drift_goes_on_and_its_errors_grow_with_the_root_of_time():
    walk = 0.5 * np.arange(300) + np.cumsum(np.random.default_rng(3).normal(scale=0.1, size=300))
    model = fit(walk, Order(0, 1, 0, has_drift=True))
    values, errors = model.forecast(walk, 3)
    assert values - walk[-1] == pytest.approx([0.5, 1.0, 1.5], abs=0.1)
    assert errors == pytest.approx(errors[0] * np.sqrt([1, 2, 3]))


def test_all_orders_are_tried_and_the_least_criterion_wins():
    models = candidates(np.random.default_rng(4).normal(size=60), 0, 5)
    assert len(models) == 42
    assert [model.aic for model in models] == sorted(model.aic for model in models)
    assert {model.order.p + model.order.q for model in candidates(np.random.default_rng(4).normal(size=60), 1, 2)} == {
        1,
        2,
    }


def test_a_weekly_pattern_and_a_trend_go_on():
    week = np.array([0, 1, 2, 3, 4, 20, 10])
    days = np.arange(91)
    noise = np.random.default_rng(5).normal(scale=0.1, size=91)
    model = train(table(100 + 0.5 * days + week[days % 7] + noise), auto_arima_max_order=1)
    found = model.forecast(7, 0.9)
    coming = np.arange(91, 98)
    assert found["forecast_value"].to_pylist() == pytest.approx(100 + 0.5 * coming + week[coming % 7], abs=1.5)
    assert found["forecast_timestamp"].to_pylist() == [START + timedelta(days=int(day)) for day in coming]
    assert model.arima_evaluate(all_candidates=False)["seasonal_periods"].to_pylist() == [["WEEKLY"]]


def test_patterns_of_different_lengths_keep_their_phases():
    days = np.arange(1500)
    values = 100 + 20 * (days % 7 == 0) + 30 * np.sin(2 * np.pi * days / 365)
    model = train(table(values), auto_arima_max_order=1)
    assert list(model.series[0].patterns) == ["WEEKLY", "YEARLY"]
    found = np.array(model.forecast(730, 0.9)["forecast_value"])
    coming = np.arange(1500, 2230)
    assert found == pytest.approx(100 + 20 * (coming % 7 == 0) + 30 * np.sin(2 * np.pi * coming / 365), abs=12)


def test_a_grid_of_too_many_points_is_refused():
    times = pa.array([START, START + timedelta(seconds=1), START + timedelta(days=400)], pa.timestamp("us", "UTC"))
    with pytest.raises(BigQueryError, match="give a data_frequency"):
        train(pa.table({"day": times, "sold": [1.0, 2.0, 3.0]}))


@pytest.mark.parametrize("months", [1, 3, 12])
def test_months_are_counted_by_the_calendar(months):
    starts = np.datetime64("2026-01") + months * np.arange(12 if months == 1 else 20)
    days = pa.array(starts.astype("datetime64[D]") + np.timedelta64(30 if months == 12 else 0, "D"))
    rows = pa.table({"day": days, "sold": np.arange(len(starts)) % 4 + 1.0})
    found = train(rows, auto_arima_max_order=1).forecast(2, 0.9)["forecast_timestamp"].to_pylist()
    gaps = [(day.year * 12 + day.month) - (2026 * 12 + 1) for day in found]
    assert gaps == [months * len(starts), months * (len(starts) + 1)]
    assert {day.day for day in found} == {31 if months == 12 else 1}


def test_gaps_are_interpolated_and_repeated_times_averaged():
    values = list(range(30))
    rows = table(values)
    gaps = pa.concat_tables([rows.slice(0, 10), rows.slice(12), rows.slice(9, 1)])
    assert train(gaps, auto_arima_max_order=1).series[0].values.tolist() == pytest.approx(values)


def test_a_spike_is_removed_unless_an_option_keeps_it():
    values = 10 + np.random.default_rng(6).normal(size=60)
    values[30] = 500
    cleaned, kept = (
        train(table(values), auto_arima_max_order=1, clean_spikes_and_dips=clean) for clean in (True, False)
    )
    assert (cleaned.series[0].values.max() < 20, cleaned.series[0].has_spikes) == (True, True)
    assert (kept.series[0].values.max(), kept.series[0].has_spikes) == (500, False)


def test_a_constant_series_stays():
    found = train(table([7] * 20)).forecast(2, 0.95)
    assert found["forecast_value"].to_pylist() == [7, 7]
    assert found["standard_error"].to_pylist() == [0, 0]


def test_an_order_that_is_given_is_fitted():
    model = train(table(np.arange(40) ** 1.1), auto_arima=False, non_seasonal_order=(1, 1, 0), include_drift=True)
    assert model.series[0].models[0].order == Order(1, 1, 0, has_drift=True)


ROWS = table(range(10))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (ROWS, {"time_series_data_col": "gone"}, "'gone' is missing"),
        (ROWS, {"time_series_data_col": "day"}, "must be a number"),
        (ROWS, {"time_series_timestamp_col": "sold"}, "must be a TIMESTAMP"),
        (ROWS, {"time_series_timestamp_col": None}, "must be a string"),
        (ROWS, {"auto_arima": False}, "needs it"),
        (ROWS, {"non_seasonal_order": (1, 0, 0)}, "goes with auto_arima=FALSE"),
        (ROWS, {"include_drift": True}, "'include_drift' goes with"),
        (ROWS, {"holiday_region": "US"}, "'holiday_region' of model type ARIMA_PLUS is unknown, or not supported"),
        (ROWS, {"seasonalities": ["MONTHLY"]}, "'seasonalities' of model type ARIMA_PLUS can only be"),
        (ROWS, {"data_frequency": "SOMETIMES"}, "'AUTO_FREQUENCY' or "),
        (ROWS.slice(0, 2), {}, "has 2 points"),
        (ROWS.slice(0, 0), {}, "no rows"),
    ],
)
def test_what_cannot_be_forecast_is_refused(rows, options, message):
    with pytest.raises(BigQueryError, match=message):
        train(rows, **options)


@pytest.fixture(scope="module")
def visits(client):
    client.create_dataset("visits")
    schema = [bigquery.SchemaField("day", "TIMESTAMP"), bigquery.SchemaField("visits", "INTEGER")]
    rows = [{"day": f"{day} 00:00:00 UTC", "visits": int(count)} for day, count in VISITS]
    config = bigquery.LoadJobConfig(schema=schema)
    client.load_table_from_json(rows, "demo.visits.daily", job_config=config).result()
    client.query(
        "CREATE MODEL visits.both OPTIONS(model_type='ARIMA_PLUS', time_series_timestamp_col='day', "
        "time_series_data_col='visits', time_series_id_col='id', auto_arima_max_order=3, horizon=30) AS "
        "SELECT * FROM visits.daily, UNNEST(['1', '2']) AS id"
    ).result()
    yield client
    client.delete_dataset("visits", delete_contents=True)


# Recorded by test_arima_plus_predict_params in test_forecasting.py of bigframes, which allows differences of 10 %.
FORECAST = [2634.796023, 2621.332461, 2396.095462, 1781.623071]


def test_errors_of_recorded_forecasts_are_the_recorded_ones():
    found = forecast_metrics(np.full(3, 2500.0), np.array(FORECAST[:3]))
    # Recorded by test_arima_plus_score.
    assert found == pytest.approx(
        {
            "mean_absolute_error": 120.0110074,
            "mean_squared_error": 14562.5623594,
            "root_mean_squared_error": 120.675442,
            "mean_absolute_percentage_error": 4.80044,
            "symmetric_mean_absolute_percentage_error": 4.744332,
        },
        rel=1e-6,
    )


def test_forecasts_are_within_a_tenth_of_the_recorded_ones(rows, columns, visits):
    sql = "SELECT * FROM ML.FORECAST(MODEL visits.both, STRUCT(4 AS horizon, 0.9 AS confidence_level))"
    assert columns(sql) == [
        "id STRING",
        "forecast_timestamp TIMESTAMP",
        "forecast_value FLOAT64",
        "standard_error FLOAT64",
        "confidence_level FLOAT64",
        "prediction_interval_lower_bound FLOAT64",
        "prediction_interval_upper_bound FLOAT64",
        "confidence_interval_lower_bound FLOAT64",
        "confidence_interval_upper_bound FLOAT64",
    ]
    for number in ("1", "2"):
        found = [row for row in rows(f"{sql} ORDER BY forecast_timestamp") if row["id"] == number]
        assert [row["forecast_timestamp"].isoformat()[:10] for row in found] == [
            f"2017-08-0{day}" for day in (2, 3, 4, 5)
        ]
        assert [row["forecast_value"] for row in found] == pytest.approx(FORECAST, rel=0.1)
        for row in found:
            reach = row["prediction_interval_upper_bound"] - row["forecast_value"]
            assert reach == pytest.approx(1.6448536 * row["standard_error"])


def test_errors_are_those_of_the_forecasts(rows, visits):
    forecast = "SELECT id, forecast_timestamp AS day, forecast_value + IF(id = '1', 10, -20) AS visits FROM {}"
    shifted = forecast.format("ML.FORECAST(MODEL visits.both, STRUCT(3 AS horizon))")
    found = {row["id"]: row for row in rows(f"SELECT * FROM ML.EVALUATE(MODEL visits.both, ({shifted}))")}
    assert {number: row["mean_absolute_error"] for number, row in found.items()} == pytest.approx({"1": 10, "2": 20})
    assert list(found["1"]) == [
        "id",
        "mean_absolute_error",
        "mean_squared_error",
        "root_mean_squared_error",
        "mean_absolute_percentage_error",
        "symmetric_mean_absolute_percentage_error",
    ]


def test_models_are_described(rows, columns, visits):
    sql = "SELECT * FROM ML.ARIMA_EVALUATE(MODEL visits.both{})"
    assert columns(sql.format("")) == [
        "id STRING",
        "non_seasonal_p INT64",
        "non_seasonal_d INT64",
        "non_seasonal_q INT64",
        "has_drift BOOL",
        "log_likelihood FLOAT64",
        "AIC FLOAT64",
        "variance FLOAT64",
        "seasonal_periods ARRAY<STRING>",
        "has_holiday_effect BOOL",
        "has_spikes_and_dips BOOL",
        "has_step_changes BOOL",
        "error_message STRING",
    ]
    (row, _) = rows(sql.format(""))
    assert (row["non_seasonal_d"], row["seasonal_periods"], row["has_spikes_and_dips"]) == (1, ["WEEKLY"], True)
    assert len(rows(sql.format(", STRUCT(TRUE AS show_all_candidate_models)"))) == 2 * 20
    assert rows("SELECT * FROM ML.EVALUATE(MODEL visits.both)") == rows(sql.format(""))
    assert columns("SELECT * FROM ML.ARIMA_COEFFICIENTS(MODEL visits.both)") == [
        "id STRING",
        "ar_coefficients ARRAY<FLOAT64>",
        "ma_coefficients ARRAY<FLOAT64>",
        "intercept_or_drift FLOAT64",
    ]
    run = visits.get_model("visits.both").to_api_repr()["trainingRuns"][0]
    assert run["trainingOptions"]["timeSeriesIdColumns"] == ["id"]
    assert len(run["evaluationMetrics"]["arimaForecastingMetrics"]["arimaSingleModelForecastingMetrics"]) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("ML.FORECAST(MODEL visits.both, STRUCT(31 AS horizon))", "trained with a horizon of 30"),
        ("ML.FORECAST(MODEL visits.both, STRUCT(1.0 AS confidence_level))", "below 1"),
        ("ML.PREDICT(MODEL visits.both, (SELECT 1 AS x))", "ML.PREDICT is not supported for models of type ARIMA_PLUS"),
        ("ML.EVALUATE(MODEL visits.both, (SELECT * FROM visits.daily, UNNEST(['1']) AS id))", "no row has a time"),
        ("ML.EXPLAIN_FORECAST(MODEL visits.both)", "ML.EXPLAIN_FORECAST is not supported"),
    ],
)
def test_calls_that_cannot_be_are_refused(visits, call, message):
    with pytest.raises(Exception, match=message):
        visits.query(f"SELECT * FROM {call}").result()
