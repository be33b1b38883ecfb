"""Several models of one entity type, refreshed one after another into the same Bigtable table."""

import json

from local_stack.demo import MODEL

OTHERS = ("expected_spend", "customer_segment")
CUSTOMER = "01500"


def test_one_read_returns_the_predictions_of_all_models(airflow, api, model_view, run, warehouse):
    for name in OTHERS:
        airflow.wait_for_dag(f"refresh_{name}")
        assert run(f"refresh_{name}")[0] == "success"
    predictions = api.get(f"/v1/entities/customer/{CUSTOMER}/predictions").raise_for_status().json()["predictions"]
    assert predictions.keys() >= {MODEL, *OTHERS}  # other tests may have refreshed more models of this entity type
    for name, found in predictions.items():
        state = model_view(name)
        assert found["version"] == state["active_version"]
        (record,) = (version for version in state["versions"] if version["version"] == found["version"])
        table = record["details"]["predictions_table"]
        (row,) = warehouse.query_and_wait(f"SELECT payload FROM `{table}` WHERE entity_id = '{CUSTOMER}'")
        assert found["prediction"] == json.loads(row.payload)


def test_another_model_leaves_the_versions_of_the_others_alone(airflow, run, model_view, predictions):
    before = (model_view()["active_version"], predictions())
    airflow.wait_for_dag("refresh_customer_segment")
    assert run("refresh_customer_segment")[0] == "success"
    assert (model_view()["active_version"], predictions()) == before


def test_recommendations_are_served_from_a_table_of_their_own(airflow, api, run, model_view, warehouse):
    airflow.wait_for_dag("refresh_next_products")
    assert run("refresh_next_products")[0] == "success"
    state = model_view("next_products")
    found = api.get("/v1/entities/household/0042/predictions").raise_for_status().json()["predictions"]["next_products"]
    (record,) = (version for version in state["versions"] if version["version"] == state["active_version"])
    table = record["details"]["predictions_table"]
    (row,) = warehouse.query_and_wait(f"SELECT payload FROM `{table}` WHERE entity_id = '0042'")
    assert (found["version"], found["prediction"]) == (state["active_version"], json.loads(row.payload))
    assert len(found["prediction"]["products"]) == 10
