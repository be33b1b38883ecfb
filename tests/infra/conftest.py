import json

import pytest

from tests.infra.evaluation import EXAMPLES, ROOT, evaluate


@pytest.fixture(scope="session")
def resource_schemas():
    return json.loads((ROOT / "tests/infra/provider_schema.json").read_text())["resources"]


@pytest.fixture(scope="session", params=EXAMPLES)
def example(request, tmp_path_factory):
    return evaluate(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def production(tmp_path_factory):
    return evaluate(tmp_path_factory.mktemp("production"), "production")
