"""The notebook of the documents, cell by cell, on the stack."""

import json

from local_stack.demo import MODEL
from local_stack.stack import ROOT

NOTEBOOK = ROOT / "docs" / "your-own-table.ipynb"


def test_the_notebook_loads_a_table_refreshes_a_pipeline_and_looks_a_prediction_up(airflow, stack, tmp_path, capsys):
    file = tmp_path / "people.csv"
    file.write_text("person_id,churned\n" + "".join(f"p{number:05},{number % 2 == 0}\n" for number in range(100)))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    parameters, *codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = {}
    exec(parameters, names)  # noqa: S102  our own cells
    names |= {"PIPELINE": MODEL, "ENTITY_ID": "00003", "CSV_FILE": str(file)}
    names |= {"BIGQUERY": stack.url("bigquery"), "AIRFLOW": stack.url("airflow"), "SERVICE": stack.url("api")}
    for code in codes:
        exec(code, names)  # noqa: S102
    rows, state, looked_up = capsys.readouterr().out.splitlines()
    assert (rows, state) == ("100 rows", "success")
    assert looked_up.startswith("{'probability': ")
