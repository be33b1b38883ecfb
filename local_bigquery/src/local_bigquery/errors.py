"""Errors in the form of BigQuery: a reason, a message, and the HTTP status that belongs to the reason.

Source of the reasons and codes: https://cloud.google.com/bigquery/docs/error-messages
"""

from typing import Any

# All other reasons have the status 400.
_HTTP_STATUS = {
    "accessDenied": 403,
    "conditionNotMet": 412,
    "duplicate": 409,
    "notFound": 404,
    "stopped": 499,
}


class BigQueryError(Exception):
    """A failure that is reported to the client.

    Args:
        reason: BigQuery's name for the kind of failure, such as `invalidQuery`.
        message: the explanation for a person.
        location: the part of the request that is wrong, such as `query`; None if there is none.
    """

    def __init__(self, reason: str, message: str, location: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.location = location

    @property
    def http_status(self) -> int:
        """The HTTP status of a response that reports this error."""
        return _HTTP_STATUS.get(self.reason, 400)

    def to_error_proto(self) -> dict[str, Any]:
        """Return the ErrorProto for `status.errorResult` of a job resource."""
        proto = {"reason": self.reason, "message": self.message}
        if self.location is not None:
            proto["location"] = self.location
        return proto

    def to_http_body(self) -> dict[str, Any]:
        """Return the JSON body of an HTTP response that reports this error."""
        return {
            "error": {
                "code": self.http_status,
                "message": self.message,
                "errors": [{"domain": "global", **self.to_error_proto()}],
            }
        }


def invalid_query(message: str) -> BigQueryError:
    """Return the error for SQL that cannot be run as written."""
    return BigQueryError("invalidQuery", message, location="query")


def not_found(kind: str, name: str) -> BigQueryError:
    """Return the error for a resource that does not exist.

    Args:
        kind: the kind of resource, such as `Model` or `Job`.
        name: its full name.
    """
    return BigQueryError("notFound", f"Not found: {kind} {name}")
