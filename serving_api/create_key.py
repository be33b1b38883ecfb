"""Creates an API key: `python -m serving_api.create_key --name shop`."""

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from serving_api.access.api_keys import new_key
from serving_api.access.callers_file import CallerEntry, KeyEntry


def main() -> None:
    """Print a new key, which is not stored, on standard error, and its callers file entry on standard output."""
    arguments = _arguments()
    key = new_key()
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=arguments.days) if arguments.days else None
    try:
        entry = CallerEntry(
            name=arguments.name,
            keys=[KeyEntry(id=key.id, sha256=key.sha256, expires=expires)],
            models=arguments.models or "all",
            preview=arguments.preview,
            metrics=arguments.metrics,
            requests_per_second=arguments.requests_per_second,
        )
    except ValidationError as error:
        (problem, *_) = error.errors()
        sys.exit(f"--{str(problem['loc'][0]).replace('_', '-')} {problem['input']!r}: {problem['msg']}")
    print(f"The key of {entry.name}, which is shown only once:\n\n{key.key}\n", file=sys.stderr)  # noqa: T201  a command
    print(json.dumps(entry.model_dump(mode="json", exclude_defaults=True), indent=2))  # noqa: T201  a command


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serving_api.create_key", description="Create an API key for a caller of the service."
    )
    parser.add_argument("--name", required=True, help="name of the caller in metrics and problems")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="models that the caller may read (all)")
    parser.add_argument("--preview", action="store_true", help="allow the caller to read versions that are not active")
    parser.add_argument("--metrics", action="store_true", help="allow the caller to read /metrics")
    parser.add_argument(
        "--requests-per-second", type=float, help="requests that each process admits per second (no limit)"
    )
    parser.add_argument("--days", type=int, help="days after which the key expires (never)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
