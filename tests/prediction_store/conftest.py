import os
import uuid

import pytest

from local_stack.bigtable import cbtemulator
from prediction_store.connection import channel
from prediction_store.layout import Instance
from prediction_store.lifecycle import ModelState
from prediction_store.registry import Registry
from prediction_store.tables import Tables
from tests.servers import bigtable_server


@pytest.fixture(scope="session", params=["cbtemulator", "embedded"])
def bigtable(request):
    """The address of each implementation in turn, which the clients of this process use."""
    if request.param == "cbtemulator" and cbtemulator.find(os.environ) is None:
        pytest.skip("cbtemulator is not installed")
    with bigtable_server(implementation=request.param) as address, pytest.MonkeyPatch.context() as environment:
        environment.setenv("BIGTABLE_EMULATOR_HOST", address)
        yield address


@pytest.fixture(scope="session")
def instance(bigtable):
    return Instance("test", "store")


@pytest.fixture(scope="session")
def tables(instance):
    """The tables of the instance, which has a registry."""
    tables = Tables(instance)
    tables.ensure_registry()
    return tables


@pytest.fixture(scope="session")
def data_channel(tables):
    with channel() as opened:
        yield opened


@pytest.fixture(scope="session")
def registry(instance, tables):
    return Registry(instance)


@pytest.fixture
def model(tables):
    """The name of a model that no other test uses. Its column family keeps three cells."""
    name = f"m{uuid.uuid4().hex[:12]}"
    tables.ensure_model(ModelState(name, "customer", keep_versions=2))
    return name
