"""tabledata.insertAll: rows with NULL in an array are refused one by one. The emulator would refuse the request.

https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/insertAll
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local_bigquery.backend.emulator import Emulator, TableName
from local_bigquery.rest.messages import forward, json_body, returned
from local_bigquery.schema import Schema, is_repeated


async def insert_all(emulator: Emulator, request: Request) -> Response:
    """Insert the rows of a request; none of them if one is refused and `skipInvalidRows` is not set."""
    body = await json_body(request)
    table = TableName(*(request.path_params[name] for name in ("project", "dataset", "table")))
    fields = (await emulator.call("GET", table.rest_path)).get("schema", {}).get("fields", [])
    rows = body.get("rows", [])
    refused = {index: path for index, row in enumerate(rows) if (path := _null(row.get("json") or {}, fields))}
    if not refused:
        return returned(await forward(emulator, request, await request.body()))
    message = "Only optional fields can be set to NULL. Field: {}; Value: NULL"
    errors = [_error(index, "invalid", path, message.format(path)) for index, path in refused.items()]
    others = [index for index in range(len(rows)) if index not in refused]
    if body.get("skipInvalidRows"):
        valid = {**body, "rows": [rows[index] for index in others]}
        answer = await emulator.call("POST", f"{table.rest_path}/insertAll", json=valid)
        errors += [{**error, "index": others[error["index"]]} for error in answer.get("insertErrors", [])]
    else:
        errors += [_error(index, "stopped") for index in others]
    errors.sort(key=lambda error: error["index"])
    return JSONResponse({"kind": "bigquery#tableDataInsertAllResponse", "insertErrors": errors})


def _null(values: Mapping[str, Any], fields: Schema) -> str | None:
    """Return the path of an array that is NULL or has a NULL element; None if there is none."""
    for field in fields:
        if (name := field["name"]) not in values:
            continue
        items = values[name] if isinstance(values[name], list) else [values[name]]
        if is_repeated(field) and None in items:
            return str(name)
        for item in items:
            inner = _null(item, field.get("fields", ())) if isinstance(item, dict) else None
            if inner is not None:
                return f"{name}.{inner}"
    return None


def _error(index: int, reason: str, location: str = "", message: str = "") -> dict[str, Any]:
    error = {"reason": reason, "location": location, "debugInfo": "", "message": message}
    return {"index": index, "errors": [error]}
