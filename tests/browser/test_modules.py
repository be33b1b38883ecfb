"""Properties of the page's modules, which run in a browser."""

import json
import re
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import service

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
BOUNDS = (0.001, 0.005, 0.01, 0.1, 1)


@pytest.fixture(scope="module")
def javascript(browser):
    """Evaluates JavaScript with an argument, in a page of a service without a store."""
    with service("127.0.0.1:1") as url:
        page = browser.new_page()
        # This page runs none of the modules.
        page.goto(f"{url}/docs")
        yield page.evaluate
        page.close()


@settings(max_examples=100, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_formatting_changes_layout_only(javascript, value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    formatted = javascript("async (text) => (await import('/page/json.js')).formatted(text)", text)
    tokens = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
    assert tokens.findall(formatted) == tokens.findall(text)
    assert json.loads(formatted) == value
    if indent:
        assert formatted == json.dumps(value, ensure_ascii=ascii_only, indent=2)


@pytest.mark.parametrize("text", ["<html>", '{"a": "', "", 'x"y'])
def test_text_that_is_not_json_is_not_changed(javascript, text):
    assert javascript("async (text) => (await import('/page/json.js')).formatted(text)", text).strip() == text


def exposition(latencies, *, route="/v1/models/{model}/predictions/{entity_id}", status="200"):
    cumulative = [sum(latency <= bound for latency in latencies) for bound in BOUNDS] + [len(latencies)]
    labels = [f'route="{route}",status="{status}",le="{bound}"' for bound in (*BOUNDS, "+Inf")]
    return "".join(
        f"foreserve_request_seconds_bucket{{{label}}} {n}.0\n" for label, n in zip(labels, cumulative, strict=True)
    )


BETWEEN = """async ([earlier, later, q]) => {
  const { reading, between, quantile, total } = await import('/page/metrics.js');
  const interval = between(reading(earlier, 0), reading(later, 2000));
  return interval && [total(interval), interval.failed, quantile(q, interval)];
}"""
LATENCIES = st.lists(st.floats(0.0001, 0.99), max_size=40)


@settings(max_examples=100, deadline=None)
@given(LATENCIES, LATENCIES.filter(bool), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_in_the_bucket_of_the_value_at_its_rank(javascript, before, since, q):
    number, failed, quantile = javascript(BETWEEN, [exposition(before), exposition(before + since), q])
    assert (number, failed) == (len(since), 0)
    counts = accumulate(
        sum(low < latency <= high for latency in since) for low, high in zip((0, *BOUNDS), BOUNDS, strict=False)
    )
    reached = next(i for i, count in enumerate(counts) if count >= q * len(since))
    assert (0, *BOUNDS)[reached] <= quantile <= BOUNDS[reached] + 1e-12


def test_failures_count_and_other_routes_do_not(javascript):
    others = exposition([0.5], route="/metrics") + exposition([0.5], route="none", status="404")
    later = others + exposition([0.002], status="503") + exposition([0.002], status="404")
    assert javascript(BETWEEN, [others, later, 0.5])[:2] == [2, 1]


def test_readings_of_two_processes_are_not_compared(javascript):
    assert javascript(BETWEEN, [exposition([0.002, 0.003]), exposition([0.002]), 0.5]) is None


def test_without_lookups_there_is_no_latency(javascript):
    assert javascript(BETWEEN, ["", "", 0.5]) == [0, 0, None]


def test_the_header_server_timing_is_parsed(javascript):
    script = "async (header) => (await import('/page/api.js')).serverTimings(header)"
    assert javascript(script, 'bigtable;dur=0.7;desc="a read", total;dur=0.9') == [["bigtable", 0.7], ["total", 0.9]]
    assert javascript(script, "cache;desc=hit") == []
    assert javascript(script, None) == []
