"""The page of figures: charts, tables, and where the figures of the documents come from."""

import re
import xml.etree.ElementTree as ET

import pytest

from benchmarks import page
from benchmarks.charts import Axes, Line, bar_chart, line_chart, svg
from benchmarks.document import filled
from benchmarks.estimate import LOOKUP_CPU_SECONDS, ROWS_PER_CPU_SECOND
from benchmarks.profiles import flame_graph, own_shares, tree
from benchmarks.results import FOLDER, keep, load
from local_stack.settings import ROOT

SVG = "{http://www.w3.org/2000/svg}"
FIGURE = re.compile(r"\d[\d,.]* (?:ms|s|µs|MiB|GiB|times)\b")
OBJECTIVE = "100 ms"


def texts(picture):
    return {text.text for text in ET.fromstring(picture).iter(f"{SVG}text")}  # noqa: S314  our own picture


def test_lines_are_drawn_from_point_to_point_on_linear_and_logarithmic_axes():
    lines = [Line("goodput", [(1, 100), (3, 50)]), Line("due", [(1, 100), (3, 300)])]
    for logarithmic in (False, True):
        picture = svg("Load", line_chart(Axes("lookups/s", "load", logarithmic=logarithmic), lines))
        drawn = ET.fromstring(picture).iter(f"{SVG}polyline")  # noqa: S314  our own picture
        assert [len(line.get("points").split()) for line in drawn] == [2, 2]
        assert {"goodput", "due", "lookups/s", "load", "3"} <= texts(picture)


def test_bars_have_names_and_values():
    assert {"Foreserve", "Feast", "0.5", "12,300"} <= texts(
        svg("", bar_chart("ms", [("Foreserve", 0.5), ("Feast", 12_300)]))
    )


def test_other_parts_of_a_result_stay_and_numbers_are_rounded(tmp_path):
    keep("serving", {"one": {"value": 1.23456}}, tmp_path)
    keep("serving", {"two": [2.0, None, "text"]}, tmp_path)
    assert load("serving", tmp_path) == {"one": {"value": 1.235}, "two": [2.0, None, "text"]}
    assert load("export", tmp_path) == {}


def test_only_the_tables_that_were_made_are_replaced():
    text = "a\n<!-- serving: one -->\nold\n<!-- end -->\n<!-- serving: two -->\nkept\n<!-- end -->\nb\n"
    assert filled(text, "serving", {"one": "new"}) == text.replace("old", "new")


@pytest.mark.parametrize("document", page.DOCUMENTS, ids=lambda document: document.name)
def test_tables_of_the_documents_are_those_of_the_results(document):
    tables, _ = page.make(FOLDER)
    assert filled(document.read_text(), "performance", tables) == document.read_text(), "run make bench-page"


def test_plots_of_the_documents_are_those_of_the_results():
    _, plots = page.make(FOLDER)
    for name, picture in plots.items():
        assert (page.PLOTS / f"{name}.svg").read_text() == picture, "run make bench-page"


def test_figures_of_the_readme_come_from_the_results():
    text = (ROOT / "README.md").read_text()
    outside = re.sub(r"<!-- performance: summary -->.*?<!-- end -->", "", text, flags=re.DOTALL)
    assert set(FIGURE.findall(outside)) <= {OBJECTIVE}


def test_the_estimate_of_costs_uses_what_was_measured():
    export, comparison = load("export"), load("serving").get("comparison")
    if not export or export["conditions"]["rows"] < 1_000_000 or not comparison:
        pytest.skip("the estimate is of exports of a million rows")
    assert pytest.approx(export["medians"]["native"]["rows/CPU s"], rel=0.3) == ROWS_PER_CPU_SECOND
    measured = page.cpu_micros(comparison)["Foreserve", "lookups"] / 1e6
    assert measured <= LOOKUP_CPU_SECONDS <= 2 * measured


def test_a_flame_graph_has_a_frame_for_each_function_that_is_wide_enough():
    stacks = ["process 1;main ({0}/a.py:1);work (a.py:2) 60", "main ({0}/a.py:1);rare (a.py:3) 1", "main;epoll_wait 9"]
    root = tree("\n".join(stacks).format(ROOT))
    assert root.samples == 61
    assert own_shares(root)["work (a.py:2)"] == pytest.approx(60 / 61)
    picture = flame_graph("Export", root, least=0.1)
    assert {"Export", "main (a.py:1)"} <= texts(picture)
    assert "rare" not in picture
