"""Several models of one entity type, refreshed one after another into the same Bigtable table."""

import json

from local_stack.demo import MODEL

OTHERS = ("expected_spend", "customer_segment")
CUSTOMER = "01500"


def test_models_are_refreshed_each_by_itself_and_read_together(airflow, api, model_view, predictions, run, warehouse):
    before = (model_view()["active_version"], predictions())
    for name in OTHERS:
        airflow.wait_for_dag(f"refresh_{name}")
        assert run(f"refresh_{name}")[0] == "success"
    assert (model_view()["active_version"], predictions()) == before
    together = api.get(f"/v1/entities/customer/{CUSTOMER}/predictions").raise_for_status().json()["predictions"]
    assert together.keys() >= {MODEL, *OTHERS}  # other tests may have refreshed more models of this entity type
    for name, found in together.items():
        state = model_view(name)
        assert found["version"] == state["active_version"]
        (record,) = (version for version in state["versions"] if version["version"] == found["version"])
        table = record["details"]["predictions_table"]
        (row,) = warehouse.query_and_wait(f"SELECT payload FROM `{table}` WHERE entity_id = '{CUSTOMER}'")
        assert found["prediction"] == json.loads(row.payload)


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
