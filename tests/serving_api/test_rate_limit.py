"""How often a caller may ask."""

from hypothesis import given
from hypothesis import strategies as st

from serving_api.access.callers import RateLimit


@given(rate=st.floats(0.01, 1000), pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_never_more_than_the_rate_and_one_second_of_it_at_once(rate, pauses):
    limit = RateLimit(rate)
    now, taken = 1000.0, []
    for pause in pauses:
        now += pause
        if wait := limit.take(now):
            now += wait + 1e-9
            assert limit.take(now) == 0, "it came back when it was told to"
        taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= max(rate, 1) + (taken[last] - start) * rate + 1e-3
