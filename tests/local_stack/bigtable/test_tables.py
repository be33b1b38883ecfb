"""Table administration: tables, families, garbage collection, dropped ranges, consistency tokens."""

import time
import uuid
from datetime import timedelta

import pytest
from google.api_core.exceptions import AlreadyExists, InvalidArgument, MethodNotImplemented, NotFound
from google.cloud.bigtable.data import SetCell
from google.cloud.bigtable_admin_v2 import BigtableInstanceAdminClient
from google.cloud.bigtable_admin_v2.services.bigtable_instance_admin.transports import (
    BigtableInstanceAdminGrpcTransport,
)
from google.cloud.bigtable_admin_v2.types import ColumnFamily, GcRule, ModifyColumnFamiliesRequest

from tests.waiting import wait_for

DAY = timedelta(days=1)
KEEP_TWO = GcRule(max_num_versions=2)
KEEP_A_DAY = GcRule(max_age=DAY)
Modification = ModifyColumnFamiliesRequest.Modification


def set_cells(family, versions):
    return [SetCell(family, b"p", b"v", timestamp_micros=version * 1000) for version in versions]


def test_a_table_has_the_families_that_it_was_created_with(emulator):
    rules = {
        "plain": GcRule(),
        "versions": KEEP_TWO,
        "union": GcRule(union=GcRule.Union(rules=[KEEP_TWO, KEEP_A_DAY])),
    }
    table = emulator.create_table({name: ColumnFamily(gc_rule=rule) for name, rule in rules.items()})

    families = emulator.admin.get_table(name=table.name).column_families

    assert {name: family.gc_rule for name, family in families.items()} == rules


def test_a_table_cannot_be_created_twice(emulator, table):
    parent, table_id = table.name.split("/tables/")
    with pytest.raises(AlreadyExists, match=table_id):
        emulator.admin.create_table(request={"parent": parent, "table_id": table_id})


def test_tables_are_listed_by_instance(emulator):
    instance = f"projects/{uuid.uuid4().hex}/instances/x"
    for parent, table_id in ((instance, "t1"), (instance, "t2"), (f"{instance}y", "t3")):
        emulator.admin.create_table(request={"parent": parent, "table_id": table_id})

    names = {table.name for table in emulator.admin.list_tables(parent=instance)}

    assert names == {f"{instance}/tables/t1", f"{instance}/tables/t2"}
    assert list(emulator.admin.list_tables(parent="projects/empty/instances/x")) == []


def test_a_deleted_table_is_gone_with_its_rows(emulator, table):
    table.write(b"k", *set_cells("churn", [1]))
    emulator.admin.delete_table(name=table.name)

    with pytest.raises(NotFound):
        emulator.admin.get_table(name=table.name)
    parent, table_id = table.name.split("/tables/")
    again = {"parent": parent, "table_id": table_id, "table": {"column_families": {"churn": {}}}}
    emulator.admin.create_table(request=again)
    assert table.read() == {}


def test_families_can_be_added_changed_and_dropped(emulator, table):
    table.write(b"k", *set_cells("churn", [1]), *set_cells("value", [1]))

    changed = emulator.admin.modify_column_families(
        request={
            "name": table.name,
            "modifications": [
                Modification(id="new", create=ColumnFamily(gc_rule=KEEP_TWO)),
                Modification(id="churn", drop=True),
                Modification(id="value", update=ColumnFamily(gc_rule=KEEP_A_DAY)),
            ],
        }
    )

    assert changed.column_families == emulator.admin.get_table(name=table.name).column_families
    assert {name: family.gc_rule for name, family in changed.column_families.items()} == {
        "new": KEEP_TWO,
        "value": KEEP_A_DAY,
    }
    table.write(b"k2", *set_cells("new", [1]))
    assert list(table.read()[b"k2"]) == [("new", b"p", 1000, b"v")]


def test_a_family_cannot_be_added_twice(emulator, table):
    with pytest.raises(AlreadyExists, match="churn"):
        emulator.admin.modify_column_families(
            request={"name": table.name, "modifications": [Modification(id="churn", create=ColumnFamily())]}
        )


def test_garbage_is_collected_by_versions_and_age(emulator):
    now = time.time_ns() // 1_000_000
    table = emulator.create_table(
        {
            "all": ColumnFamily(),
            "two": ColumnFamily(gc_rule=KEEP_TWO),
            "day": ColumnFamily(gc_rule=KEEP_A_DAY),
            "both": ColumnFamily(gc_rule=GcRule(union=GcRule.Union(rules=[KEEP_TWO, KEEP_A_DAY]))),
        }
    )
    versions = [1, now - 2, now - 1, now]
    for family in ("all", "two", "day", "both"):
        table.write(b"k", *set_cells(family, versions))

    def kept():
        found = {}
        for family, _, micros, _ in table.read()[b"k"]:
            found.setdefault(family, []).append(micros // 1000)
        return found

    newest = [now, now - 1]
    expected = {"all": [*newest, now - 2, 1], "two": newest, "day": [*newest, now - 2], "both": newest}
    wait_for(lambda: kept() == expected, describe=kept)  # garbage is collected some time after it became garbage


def test_rows_are_dropped_by_prefix(emulator, table):
    table.write_all({key: set_cells("churn", [1]) for key in (b"a", b"ab", b"ab\xff\xff", b"ac", b"b")})

    emulator.admin.drop_row_range(request={"name": table.name, "row_key_prefix": b"ab"})

    assert list(table.read()) == [b"a", b"ac", b"b"]


def test_all_rows_are_dropped_and_the_table_stays_usable(emulator, table):
    table.write_all({b"%d" % number: set_cells("churn", [1]) for number in range(10)})

    emulator.admin.drop_row_range(request={"name": table.name, "delete_all_data_from_table": True})

    assert table.read() == {}
    table.write(b"k", *set_cells("churn", [1]))
    assert list(table.read()) == [b"k"]


def test_a_consistency_token_is_consistent_at_once(emulator, table):
    token = emulator.admin.generate_consistency_token(name=table.name).consistency_token

    assert emulator.admin.check_consistency(name=table.name, consistency_token=token).consistent


def test_a_consistency_token_of_another_table_is_refused(emulator, table):
    other = emulator.create_table({})
    token = emulator.admin.generate_consistency_token(name=other.name).consistency_token

    with pytest.raises(InvalidArgument, match="token"):
        emulator.admin.check_consistency(name=table.name, consistency_token=token)


@pytest.mark.parametrize(
    "call",
    [
        lambda admin, name: admin.get_table(name=name),
        lambda admin, name: admin.delete_table(name=name),
        lambda admin, name: admin.modify_column_families(request={"name": name}),
        lambda admin, name: admin.drop_row_range(request={"name": name, "delete_all_data_from_table": True}),
        lambda admin, name: admin.generate_consistency_token(name=name),
        lambda admin, name: admin.check_consistency(name=name, consistency_token="any"),
    ],
    ids=["get", "delete", "modify", "drop_row_range", "generate_token", "check_token"],
)
def test_a_table_that_does_not_exist_is_not_found(emulator, call):
    name = f"{emulator.parent}/tables/absent"

    with pytest.raises(NotFound, match=f'table "{name}" not found'):
        call(emulator.admin, name)


def test_there_are_no_instances_to_administer(emulator):
    admin = BigtableInstanceAdminClient(transport=BigtableInstanceAdminGrpcTransport(channel=emulator.channel))

    with pytest.raises(MethodNotImplemented):
        admin.list_instances(parent="projects/local")
    with pytest.raises(MethodNotImplemented):
        admin.get_app_profile(name=f"{emulator.parent}/appProfiles/default")
