import os
import uuid
from contextlib import ExitStack
from functools import cache

import pytest

from local_stack.bigtable import cbtemulator
from prediction_store.connection import channel
from prediction_store.layout import Instance
from prediction_store.lifecycle import ModelState
from prediction_store.registry import Registry
from prediction_store.tables import Tables
from tests.servers import bigtable_server


@pytest.fixture(scope="session")
def implementations():
    """The address of an implementation, which is started when it is first asked for."""
    with ExitStack() as started:
        yield cache(lambda name: started.enter_context(bigtable_server(implementation=name)))


# Another scope than a module's would leave the variable set for tests of other folders in the same process.
@pytest.fixture(scope="module", params=["cbtemulator", "embedded"])
def bigtable(request, implementations):
    """The address of each implementation in turn, which the clients of this process use."""
    if request.param == "cbtemulator" and cbtemulator.find(os.environ) is None:
        pytest.skip("cbtemulator is not installed")
    with pytest.MonkeyPatch.context() as environment:
        address = implementations(request.param)
        environment.setenv("BIGTABLE_EMULATOR_HOST", address)
        yield address


@pytest.fixture(scope="module")
def instance(bigtable):
    return Instance("test", "store")


@pytest.fixture(scope="module")
def tables(instance):
    """The tables of the instance, which has a registry."""
    tables = Tables(instance)
    tables.ensure_registry()
    return tables


@pytest.fixture(scope="module")
def data_channel(tables):
    with channel() as opened:
        yield opened


@pytest.fixture(scope="module")
def registry(instance, tables):
    return Registry(instance)


@pytest.fixture
def model(tables):
    """The name of a model that no other test uses. Its column family keeps three cells."""
    name = f"m{uuid.uuid4().hex[:12]}"
    tables.ensure_model(ModelState(name, "customer", keep_versions=2))
    return name
