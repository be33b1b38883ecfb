"""What the operators have in common."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from foreserve.refresh import Refresh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreserve.cloud import Cloud


class CloudOperator(BaseOperator):
    """A task that talks to the cloud."""

    def __init__(self, *, cloud: Cloud, **kwargs: Any) -> None:
        """Work in `cloud`."""
        super().__init__(**kwargs)
        self.cloud = cloud


class RefreshOperator(CloudOperator):
    """A task on an open version."""

    template_fields: Sequence[str] = ("refresh",)

    def __init__(self, *, refresh: str, **kwargs: Any) -> None:
        """Work on `refresh`: a template that gives the XCom of `OpenVersion` as JSON."""
        super().__init__(**kwargs)
        self.refresh = refresh

    @property
    def current(self) -> Refresh:
        """The refresh, once the task runs."""
        return Refresh.from_xcom(json.loads(self.refresh))
