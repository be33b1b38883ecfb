"""The service `google.bigtable.admin.v2.BigtableTableAdmin`."""

import re
from typing import Any

import grpc
from google.cloud.bigtable_admin_v2.types import bigtable_table_admin, table

from local_stack.bigtable.embedded.rpc import AlreadyExistsError, InvalidArgumentError, NotFoundError, unary
from local_stack.bigtable.embedded.storage import Database, Table

SERVICE = "google.bigtable.admin.v2.BigtableTableAdmin"

_Table = table.Table.pb()
_ListTablesResponse = bigtable_table_admin.ListTablesResponse.pb()
_GenerateConsistencyTokenResponse = bigtable_table_admin.GenerateConsistencyTokenResponse.pb()
_CheckConsistencyResponse = bigtable_table_admin.CheckConsistencyResponse.pb()

_TABLE_ID = re.compile(r"[_a-zA-Z0-9][-_.a-zA-Z0-9]{0,49}")  # CreateTableRequest.table_id
_FAMILY_ID = re.compile(r"[-_.a-zA-Z0-9]{1,64}")  # Bigtable quotas and limits, "Column families"


class AdminApi:
    """The methods of the admin API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return the handler of each method, by method name."""
        requests = bigtable_table_admin
        return {
            "CreateTable": unary(requests.CreateTableRequest, self._create_table),
            "GetTable": unary(requests.GetTableRequest, self._get_table),
            "ListTables": unary(requests.ListTablesRequest, self._list_tables),
            "DeleteTable": unary(requests.DeleteTableRequest, self._delete_table),
            "ModifyColumnFamilies": unary(requests.ModifyColumnFamiliesRequest, self._modify_column_families),
            "DropRowRange": unary(requests.DropRowRangeRequest, self._drop_row_range),
            "GenerateConsistencyToken": unary(requests.GenerateConsistencyTokenRequest, self._generate_token),
            "CheckConsistency": unary(requests.CheckConsistencyRequest, self._check_consistency),
        }

    def _create_table(self, request: Any) -> Any:
        _check_id("table", request.table_id, _TABLE_ID)
        for family in request.table.column_families:
            _check_id("column family", family, _FAMILY_ID)
        name = f"{request.parent}/tables/{request.table_id}"
        return _describe(name, self._database.create(name, request.table.column_families))

    def _get_table(self, request: Any) -> Any:
        return _describe(request.name, self._database.table(request.name))

    def _list_tables(self, request: Any) -> Any:
        names = self._database.names(f"{request.parent}/tables/")
        return _ListTablesResponse(tables=[_Table(name=name) for name in names])

    def _delete_table(self, request: Any) -> None:
        self._database.delete(request.name)

    def _modify_column_families(self, request: Any) -> Any:
        changed = self._database.table(request.name)
        families = dict(changed.families)
        for modification in request.modifications:
            _modify(families, modification)
        changed.set_families(families)
        return _describe(request.name, changed)

    def _drop_row_range(self, request: Any) -> None:
        dropped_from = self._database.table(request.name)
        target = request.WhichOneof("target")
        if target is None or (target == "delete_all_data_from_table" and not request.delete_all_data_from_table):
            raise InvalidArgumentError("set row_key_prefix, or delete_all_data_from_table to true")
        dropped_from.drop(request.row_key_prefix)

    def _generate_token(self, request: Any) -> Any:
        self._database.require(request.name)
        return _GenerateConsistencyTokenResponse(consistency_token=_token(request.name))

    def _check_consistency(self, request: Any) -> Any:
        self._database.require(request.name)
        if request.consistency_token != _token(request.name):
            raise InvalidArgumentError(f'token "{request.consistency_token}" not valid')
        return _CheckConsistencyResponse(consistent=True)  # always: there is one copy of the data


def _describe(name: str, described: Table) -> Any:
    return _Table(
        name=name,
        column_families=described.families,
        granularity=table.Table.TimestampGranularity.MILLIS,
    )


def _modify(families: dict[str, Any], modification: Any) -> None:
    family = modification.id
    kind = modification.WhichOneof("mod")
    if kind == "create":
        _check_id("column family", family, _FAMILY_ID)
        if family in families:
            raise AlreadyExistsError(f'family "{family}" already exists')
        families[family] = modification.create
    elif family not in families:
        raise NotFoundError(f'no such family "{family}"')
    elif kind == "update":
        families[family] = modification.update
    elif kind == "drop" and modification.drop:
        del families[family]
    else:
        raise InvalidArgumentError(f'modification of family "{family}": set create, update or drop')


def _check_id(kind: str, value: str, allowed: re.Pattern[str]) -> None:
    if not allowed.fullmatch(value):
        raise InvalidArgumentError(f"{kind} id {value!r} must match {allowed.pattern}")


def _token(name: str) -> str:
    return f"TokenFor-{name}"
