"""Command line: `local-bigquery`, or `python -m local_bigquery`."""

import argparse
import asyncio
import sys
from pathlib import Path

from local_bigquery.server import Addresses, PortTakenError, Settings, serve


def main() -> int:
    """Serve until interrupted; return the exit code."""
    parser = argparse.ArgumentParser(prog="local-bigquery", description="BigQuery with BigQuery ML on one machine.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9050, help="port of the REST API (default: %(default)s; 0: any)")
    parser.add_argument(
        "--storage-port", type=int, default=9060, help="port of the Storage API (default: %(default)s; 0: any)"
    )
    parser.add_argument("--project", default="demo", help="default project (default: %(default)s)")
    parser.add_argument(
        "--data-dir", type=Path, help="directory that keeps tables and models (default: they are lost at the end)"
    )
    parser.add_argument(
        "--no-analysis", dest="analysis", action="store_false", help="run SQL without BigQuery's analysis before it"
    )
    arguments = parser.parse_args()

    def announce(addresses: Addresses) -> None:
        print(  # noqa: T201  the one line of output
            f"BigQuery is ready: REST http://{addresses.rest} Storage {addresses.storage} project {arguments.project}",
            flush=True,
        )

    try:
        asyncio.run(serve(Settings(**vars(arguments)), announce))
    except (PortTakenError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
