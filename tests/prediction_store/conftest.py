import uuid

import pytest

from prediction_store.connection import channel
from prediction_store.instance import Instance
from prediction_store.registry import Registry
from prediction_store.tables import Tables


@pytest.fixture(scope="session")
def instance(bigtable):
    return Instance("test", "store")


@pytest.fixture(scope="session")
def tables(instance):
    """The table admin of the instance, which has a registry."""
    tables = Tables(instance)
    tables.ensure_registry()
    return tables


@pytest.fixture(scope="session")
def data_channel(tables):
    with channel() as opened:
        yield opened


@pytest.fixture(scope="session")
def registry(instance, tables):
    with Registry(instance) as registry:
        yield registry


@pytest.fixture
def model(tables):
    """The name of a model that nothing else uses; its column family keeps three cells."""
    name = f"m{uuid.uuid4().hex[:12]}"
    tables.ensure_model("customer", name, 2)
    return name
