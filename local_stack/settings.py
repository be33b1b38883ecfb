"""Settings that the local stack and docker-compose.yaml share: both read them from the same env files."""

from pathlib import Path

ROOT = Path(__file__).parent.parent


def read_env(file: Path) -> dict[str, str]:
    """Read an env file: one NAME=value per line, unquoted, with comments on lines of their own."""
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


SERVICE_ENVIRONMENT = read_env(Path(__file__).with_name("services.env"))
"""Environment variables of the lookup service and of Airflow."""

PROJECT = SERVICE_ENVIRONMENT["GOOGLE_CLOUD_PROJECT"]
INSTANCE = SERVICE_ENVIRONMENT["FORESERVE_BIGTABLE_INSTANCE"]
DATASET = SERVICE_ENVIRONMENT["FORESERVE_DATASET"]
