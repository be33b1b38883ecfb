"""The JSON Schema of `pipeline.yaml`, for editors. `python -m refresh_factory.schema` writes its file."""

import json
from pathlib import Path

from refresh_factory.pipeline import Pipeline

SCHEMA_FILE = Path(__file__).parents[1] / "pipeline.schema.json"


def pipeline_schema() -> str:
    """The content of the schema's file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Pipeline.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(pipeline_schema())
