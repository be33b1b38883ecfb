import itertools
import os
import uuid
from contextlib import ExitStack

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from prediction_store.connection import channel, read_rows, routing_metadata
from prediction_store.layout import Instance
from prediction_store.lifecycle import ModelState
from prediction_store.messages import ReadRowsRequest, RowAssembler, prediction_filter
from prediction_store.registry import Registry
from prediction_store.tables import Tables
from tests.beam_jobs.proxy import proxy

DATASET = "demo.exports"


@pytest.fixture(scope="session")
def instance(bigtable):
    instance = Instance("demo", "beam")
    Tables(instance).ensure_registry()
    return instance


@pytest.fixture(scope="session")
def registry(instance):
    return Registry(instance)


@pytest.fixture(scope="session")
def warehouse(bigquery):
    warehouse = bq.Client("demo", credentials=AnonymousCredentials())
    warehouse.create_dataset(DATASET)
    return warehouse


@pytest.fixture
def source_table(warehouse):
    """Make a table of changes from (entity id, payload) pairs; return its name."""
    numbers = itertools.count()
    prefix = uuid.uuid4().hex[:8]

    def make(rows):
        name = f"{DATASET}.t{prefix}_{next(numbers)}"
        schema = [bq.SchemaField("entity_id", "STRING"), bq.SchemaField("payload", "STRING")]
        warehouse.create_table(bq.Table(name, schema))
        if rows:
            records = [{"entity_id": entity, "payload": payload} for entity, payload in rows]
            warehouse.load_table_from_json(records, name, job_config=bq.LoadJobConfig(schema=schema)).result()
        return name

    return make


@pytest.fixture
def new_model(instance, registry):
    """Register a model that no other test uses; return its name."""

    def register(entity_type="customer", **settings):
        name = f"m{uuid.uuid4().hex[:12]}"
        Tables(instance).ensure_model(registry.register(ModelState(name, entity_type, **settings)))
        return name

    return register


@pytest.fixture
def begin_export(registry):
    """Open a version and begin its export; return the version."""

    def begin(model):
        version = registry.update(model, lambda state: state.open(0)).latest
        registry.update(model, lambda state: state.begin_export(version))
        return version

    return begin


@pytest.fixture
def arguments(instance):
    """The options of a job on a version of a model."""

    def command_line(model, version, **options):
        options = {
            "runner": "FnApiRunner",
            "bigtable_project": instance.project,
            "bigtable_instance": instance.instance,
            "model": model,
            "version": version,
            "write_deadline_seconds": 5,
            **options,
        }
        return [f"--{name}={value}" for name, value in options.items()]

    return command_line


@pytest.fixture
def stored(instance, registry):
    """Read a model's predictions at a version by a scan of the whole table, as {entity id: payload}."""

    def scan(model, version, row_keys="plain"):
        table = instance.table(registry.get(model).entity_type)
        with channel() as opened:
            assembler = RowAssembler()
            request = ReadRowsRequest(table_name=table, filter=prediction_filter({model: version}))
            responses = read_rows(opened)(request, metadata=(routing_metadata(table, ""),))
            rows = [row for response in responses for row in assembler.feed(response)]
        prefix = 5 if row_keys == "hashed" else 0
        return {key[prefix:].decode(): cells[model].decode() for key, cells in rows}

    return scan


@pytest.fixture
def through():
    """Put a proxy in front of the server that an environment variable names, until the test ends."""
    with pytest.MonkeyPatch.context() as environment, ExitStack() as proxies:

        def through(variable, **changes):
            environment.setenv(variable, proxies.enter_context(proxy(os.environ[variable], **changes)))

        yield through
