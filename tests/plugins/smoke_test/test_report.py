import re
from html.parser import HTMLParser

import pytest

from foreserve.smoke_test import SmokeTest
from foreserve.smoke_test.comparison import Finding
from foreserve.smoke_test.load_test import LoadReport, Timing
from foreserve.smoke_test.report import report_page

FAST = [Timing(f"id{i}", i / 10, 1 + i / 10, None) for i in range(100)]


@pytest.fixture
def page():
    """Makes the page of a smoke test with the given timings."""

    def render(timings):
        ordered = sorted(timing.milliseconds for timing in timings)
        report = LoadReport(
            requests=len(timings),
            percentiles={p: ordered[int((len(ordered) - 1) * p / 100)] for p in (50.0, 95.0, 99.0)},
            max_ms=ordered[-1],
            timings=timings,
        )
        return report_page("churn", 7, SmokeTest(requests=len(timings), rate=50), report, "http://api")

    return render


class Tags(HTMLParser):
    """The tags of a page. All of them must be closed."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.open = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(page):
    tags = Tags(page(FAST))
    assert tags.open == []
    assert not {"script", "img", "iframe"} & {tag for tag, _ in tags.found}
    assert [attrs["href"] for tag, attrs in tags.found if tag == "link"] == ["data:,"]
    assert "url(" not in page(FAST)


def test_a_page_says_whether_the_objective_was_met(page):
    assert "Passed:" in page(FAST)
    slow = [*FAST[:90], *(Timing("slow", 9.5, 300.0, None, service_ms=290.0) for _ in range(10))]
    assert "Failed:" in page(slow)
    assert "By its own account, the service took at most 290.0 ms" in page(slow)
    late = [*FAST[:90], *(Timing("late", 9.5, 300.0, None, lag_ms=290.0) for _ in range(10))]
    assert "Not judged, because the load generator was late" in page(late)
    assert "99 % of 100 lookups of 91 entities" in page(late)


def test_the_slowest_are_listed_and_can_be_looked_up(page):
    text = page([*FAST, Timing("a/b é", 3.0, 90.0, None)])
    assert "http://api/v1/models/churn/predictions/a%2Fb%20%C3%A9?version=7" in text
    listed = re.findall(r">([^<>]+)</a></td><td class=\"number\">", text)
    assert listed[:2] == ["a/b é", "id99"]
    assert len(listed) == 20


def test_wrong_answers_are_listed_and_nothing_is_markup(page):
    text = page([*FAST, Timing("<script>", 3.0, 2.0, Finding("answered with <b>another</b>", "wrong"))])
    assert "Failed:" in text
    assert "answered with &lt;b&gt;another&lt;/b&gt;" in text
    assert "<script>" not in text


def test_the_bars_of_the_histogram_are_all_the_answers(page):
    counts = [int(n.replace(",", "")) for n in re.findall(r"<title>([\d,]+) answers in", page(FAST))]
    assert sum(counts) == len(FAST)
