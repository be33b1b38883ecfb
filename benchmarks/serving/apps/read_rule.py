"""The read rule in the official client's terms, so that every alternative reads what the service reads."""

from datetime import UTC, datetime, timedelta

from google.cloud.bigtable.data.row_filters import (
    CellsColumnLimitFilter,
    ColumnQualifierRegexFilter,
    FamilyNameRegexFilter,
    RowFilterChain,
    TimestampRangeFilter,
)

from benchmarks.serving.predictions import MODEL, VERSION
from prediction_store.layout import COLUMN

_END = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=VERSION + 1)

AT_VERSION = RowFilterChain(
    [
        FamilyNameRegexFilter(MODEL),
        ColumnQualifierRegexFilter(COLUMN),
        TimestampRangeFilter(end=_END),
        CellsColumnLimitFilter(1),
    ]
)
"""The newest cell of the model's prediction that is not newer than the version."""
