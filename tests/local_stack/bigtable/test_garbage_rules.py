"""Garbage collection of the embedded Bigtable, as far as cbtemulator does not do the same."""

import time
from datetime import timedelta

import pytest
from google.cloud.bigtable.data import SetCell
from google.cloud.bigtable_admin_v2.types import ColumnFamily, GcRule

from tests.local_stack.bigtable.conftest import serving


@pytest.mark.parametrize(("timing", "kept"), [("eager", [1]), ("off", [5]), ("lazy", [1, 5])])
def test_garbage_is_collected_when_the_command_line_says(timing, kept):
    with serving("embedded", "--garbage-collection", timing) as bigtable:
        table = bigtable.create_table({"newest": ColumnFamily(gc_rule=GcRule(max_num_versions=1))})
        counts = set()
        for row in range(100):
            table.write(b"%d" % row, *[SetCell("newest", b"p", b"", version * 1000) for version in range(5)])
            counts.add(len(table.read(keys=[b"%d" % row])[b"%d" % row]))
    assert sorted(counts) == kept


def test_an_intersection_drops_only_what_every_rule_drops(start):
    rules = [GcRule(max_num_versions=1), GcRule(max_age=timedelta(days=1))]
    family = ColumnFamily(gc_rule=GcRule(intersection=GcRule.Intersection(rules=rules)))
    table = start("embedded").create_table({"recent": family, "old": family})
    now = time.time_ns() // 1_000_000

    table.write(b"k", *[SetCell("recent", b"p", b"", (now - back) * 1000) for back in (0, 1, 2)])
    table.write(b"k", *[SetCell("old", b"p", b"", version * 1000) for version in (1, 2, 3)])

    kept = [(family, micros // 1000) for family, _, micros, _ in table.read()[b"k"]]
    assert kept == [("old", 3), ("recent", now), ("recent", now - 1), ("recent", now - 2)]


def test_a_row_whose_cells_have_all_expired_is_gone(start):
    table = start("embedded").create_table({"day": ColumnFamily(gc_rule=GcRule(max_age=timedelta(days=1)))})

    table.write(b"k", SetCell("day", b"p", b"", 1000))

    assert table.read() == {}
    assert table.client.sample_row_keys() == [(b"", 0)]


def test_cells_of_a_dropped_family_do_not_come_back_with_it(embedded_table):
    admin = embedded_table.emulator.admin
    embedded_table.write(b"k", SetCell("churn", b"p", b"", 1000))
    embedded_table.write(b"k2", SetCell("churn", b"p", b"", 1000), SetCell("value", b"p", b"", 1000))

    for change in ({"drop": True}, {"create": {}}):
        request = {"name": embedded_table.name, "modifications": [{"id": "churn", **change}]}
        admin.modify_column_families(request=request)

    assert embedded_table.read() == {b"k2": [("value", b"p", 1000, b"")]}
