import json

import pytest

from tests.infra.evaluation import EXAMPLES, INFRA, ROOT, Evaluated


@pytest.fixture(scope="session")
def resource_schemas():
    return json.loads((ROOT / "tests/infra/provider_schema.json").read_text())["resources"]


@pytest.fixture(scope="session", params=EXAMPLES)
def example(request):
    return Evaluated(INFRA / "examples" / request.param)
