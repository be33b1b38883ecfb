"""The command line, on a Bigtable and a BigQuery with versions as refreshes leave them."""

import io
import json
import sys
from dataclasses import dataclass

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from foreserve_cli.__main__ import main
from prediction_store.warehouse import bigquery_name
from tests.servers import INSTANCE
from tests.store import store  # noqa: F401  a fixture

DATASET = f"{INSTANCE.project}.foreserve"


@dataclass(frozen=True)
class Result:
    """The end of a command."""

    code: int
    output: str
    notes: str

    def json(self):
        return json.loads(self.output)


@pytest.fixture
def run(store, bigquery, monkeypatch, capsys):  # noqa: F811
    """Runs a command with these words, and answers its questions."""
    monkeypatch.setenv("BIGTABLE_EMULATOR_HOST", store.address)
    monkeypatch.setenv("FORESERVE_PROJECT", INSTANCE.project)
    monkeypatch.setenv("FORESERVE_BIGTABLE_INSTANCE", INSTANCE.instance)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*words, answers=()):
        monkeypatch.setattr(sys, "argv", ["foreserve", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Result(ended.value.code or 0, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def warehouse(bigquery):
    client = bq.Client(INSTANCE.project, credentials=AnonymousCredentials())
    client.create_dataset(DATASET, exists_ok=True)
    return client


@pytest.fixture
def versions(store, warehouse):  # noqa: F811
    return Versions(store, warehouse)


@dataclass(frozen=True)
class Versions:
    """Makes versions with their tables in BigQuery."""

    store: object
    warehouse: bq.Client

    def export(self, model, predictions, complete=None):
        """Export changes, {entity id: payload or None}; `complete` has all predictions, if they are others."""
        version = self.store.export(model, predictions)
        whole = {key: value for key, value in (complete or predictions).items() if value is not None}
        self._table(model, "predictions", version, whole)
        self._table(model, "changes", version, predictions)
        counts = {"predictions": len(whole), "written": len(predictions), "unchanged": 0, "tombstones": 0}
        table = bigquery_name(DATASET, model, "predictions", version)
        self.store.registry.update(model, lambda s: s.note(version, predictions_table=table, counts=counts))
        return version

    def refresh(self, model, predictions, complete=None):
        version = self.export(model, predictions, complete)
        self.store.promote(model, version, predictions)
        return version

    def _table(self, model, kind, version, rows):
        name = bigquery_name(DATASET, model, kind, version)
        self.warehouse.query_and_wait(f"CREATE TABLE `{name}` (entity_id STRING, payload STRING)")
        values = ", ".join(f"('{key}', {'NULL' if p is None else repr(p.decode())})" for key, p in rows.items())
        if values:
            self.warehouse.query_and_wait(f"INSERT INTO `{name}` VALUES {values}")
