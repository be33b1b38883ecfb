"""The service on a Bigtable that is as harsh as Google's."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.serving.harsh_bigtable import INTERNAL_ERROR, REFUSED_STREAM, HarshBigtable, Tablet
from serving_api.bigtable import Target
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

ENTITIES = {f"e{n:03}": b"%d" % n for n in range(100)}


@pytest.fixture(scope="module")
def model(store):
    name = store.model()
    store.refresh(name, ENTITIES)
    return name


@pytest.fixture
def harsh(store, serve):
    """The service on a harsh Bigtable: `async with harsh(settings={}, **attributes) as (bigtable, client)`."""

    @asynccontextmanager
    async def running(settings=None, **attributes):
        async with (
            HarshBigtable.listening(store.address, **attributes) as (bigtable, port),
            serve(f"127.0.0.1:{port}", **(settings or {})) as client,
        ):
            yield bigtable, client

    return running


async def batch_is_right(client, model):
    answer = await client.batch(model, list(ENTITIES))
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == {entity_id: int(value) for entity_id, value in ENTITIES.items()}


async def in_flight(bigtable, reads):
    async def started():
        return len(bigtable.reads) >= reads

    await eventually(started)


async def test_a_batch_is_cut_into_reads_of_few_keys_that_run_side_by_side(harsh, model):
    async with harsh(key_seconds=0.002, rows_per_message=5) as (bigtable, client):
        bigtable.tablets.append(Tablet(b"", stalled=True))
        asking = asyncio.create_task(batch_is_right(client, model))
        await in_flight(bigtable, 7)
        bigtable.tablets[0].released.set()
        await asking
        assert sorted(len(keys) for keys, _ in bigtable.reads) == [14, 14, 14, 14, 14, 15, 15]


@pytest.mark.parametrize("code", [INTERNAL_ERROR, pytest.param(REFUSED_STREAM, marks=pytest.mark.http2_client)])
async def test_a_read_whose_stream_is_reset_is_repeated(harsh, model, code):
    async with harsh() as (bigtable, client):
        bigtable.resets.append(code)
        assert (await client.lookup(model, "e007")).json()["prediction"] == 7
        assert not bigtable.resets
        assert await client.metric("foreserve_read_failures_total") == 0
        assert await client.metric("foreserve_hedged_reads_total") == (code == INTERNAL_ERROR)


@pytest.mark.http2_client
async def test_refused_reads_are_repeated_without_a_budget_but_only_once(harsh, model):
    async with harsh({"hedge_budget": 0}) as (bigtable, client):
        for entity_id, value in list(ENTITIES.items())[:7]:
            bigtable.resets.append(REFUSED_STREAM)
            assert (await client.lookup(model, entity_id)).json()["prediction"] == int(value)
        bigtable.resets.extend([REFUSED_STREAM] * 2)
        assert (await client.lookup(model, "e001")).status_code == 503
        bigtable.resets.append(INTERNAL_ERROR)
        assert (await client.lookup(model, "e001")).status_code == 503
        assert (await client.lookup(model, "e001")).status_code == 200


@pytest.mark.http2_client
async def test_reads_that_a_closing_connection_refuses_are_repeated_on_a_new_one(harsh, model):
    async with harsh({"hedge_budget": 0, "connections": 1}) as (bigtable, client):
        async with harsh_stall(bigtable) as release:
            asking = asyncio.create_task(batch_is_right(client, model))
            await in_flight(bigtable, 7)
            # The only connection closes, so there is none to repeat the reads on.
            bigtable.go_away()
            release()
        with pytest.raises(AssertionError, match="UNAVAILABLE"):
            await asking
        await client.until_metric("foreserve_connections_ready", 1)
        await batch_is_right(client, model)


@pytest.mark.http2_client
async def test_reads_that_one_of_two_connections_refuses_are_repeated_on_the_other(harsh, model):
    async with harsh({"hedge_budget": 0, "connections": 2}) as (bigtable, client):
        async with harsh_stall(bigtable) as release:
            asking = asyncio.create_task(batch_is_right(client, model))
            await in_flight(bigtable, 7)
            next(iter(bigtable.connections)).go_away()
            await in_flight(bigtable, 10)
            release()
        await asking
        await batch_is_right(client, model)


@asynccontextmanager
async def harsh_stall(bigtable):
    """Stall all keys until the yielded function is called."""
    tablet = Tablet(b"", stalled=True)
    bigtable.tablets.append(tablet)
    yield tablet.released.set
    bigtable.tablets.remove(tablet)


async def the_busy_connection(bigtable):
    """The connection of the read that is stalled. Reads of the registry end soon, so then it alone has a stream."""

    def busy():
        found = [connection for connection in bigtable.connections if connection._streams]
        return found[0] if len(found) == 1 else None

    return await eventually(busy)


@pytest.mark.http2_client
async def test_reads_on_connections_that_are_dropped_are_repeated(harsh, model):
    async with harsh({"connections": 2}) as (bigtable, client):
        async with harsh_stall(bigtable) as release:
            asking = asyncio.create_task(client.lookup(model, "e001"))
            await in_flight(bigtable, 1)
            (await the_busy_connection(bigtable)).drop()
            await in_flight(bigtable, 2)
            release()
        assert (await asking).json()["prediction"] == 1


async def test_connections_that_live_shortly_are_replaced_while_lookups_go_on(harsh, model):
    async with harsh(connection_seconds=0.2) as (bigtable, client):
        statuses = set()

        async def replaced():
            statuses.add((await client.lookup(model, "e001")).status_code)
            return bigtable.accepted >= 12

        await eventually(replaced)
        assert 200 in statuses
        bigtable.connection_seconds = None
        await client.until(f"/v1/models/{model}/predictions/e001", 200)


@pytest.mark.http2_client
async def test_an_answer_that_breaks_off_is_completed_by_a_hedged_read(harsh, model):
    async with harsh(cut_streams=1) as (bigtable, client):
        answer = await client.batch(model, ["e001", "e002", "e003", "e004"])
        assert answer.json()["predictions"] == {"e001": 1, "e002": 2, "e003": 3, "e004": 4}
        assert [len(keys) for keys, _ in bigtable.reads] == [4, 2]


async def test_an_invalid_answer_is_a_failed_read_and_never_a_wrong_row(harsh, model):
    async with harsh(invalid_answers=1) as (_, client):
        answer = await client.batch(model, ["e001", "e002"])
        assert (answer.status_code, answer.json()["title"]) == (503, "Store unavailable")
        assert await client.metric("foreserve_read_failures_total", code="INTERNAL") == 1
        assert (await client.batch(model, ["e001", "e002"])).json()["predictions"] == {"e001": 1, "e002": 2}


async def test_a_stalled_tablet_makes_only_its_own_lookups_late(harsh, model):
    async with harsh({"deadline_seconds": 0.5}) as (bigtable, client):
        bigtable.tablets.append(Tablet(b"e010", b"e020", stalled=True))
        answers = await asyncio.gather(*(client.lookup(model, f"e0{n}") for n in range(12, 40, 2)))
        late = [answer.status_code for answer in answers].count(504)
        # Keys that were read together with those of the tablet, and come behind them, wait too.
        assert late >= 4
        assert (await client.lookup(model, "e001")).status_code == 200
        bigtable.tablets[0].released.set()
        assert (await client.lookup(model, "e012")).status_code == 200


async def test_a_slow_tablet_delays_only_the_part_of_a_batch_that_it_has(harsh, model):
    """16 keys at 20 ms each are in time; 100 one after the other would not be."""
    async with harsh({"deadline_seconds": 1.0}) as (bigtable, client):
        bigtable.tablets.append(Tablet(b"e010", b"e030", key_seconds=0.02))
        await batch_is_right(client, model)


async def test_lookups_in_a_hot_tablet_are_late_and_others_are_not(harsh, model):
    """The hot tablet serves 50 keys a second, of all reads together, so 100 lookups of it cannot be in time."""
    async with harsh({"deadline_seconds": 0.5}) as (bigtable, client):
        bigtable.tablets.append(Tablet(b"e050", key_seconds=0.02, hot=True))
        for _ in range(2):
            assert (await client.batch(model, [f"e0{n}" for n in range(50, 100)])).status_code == 504
            assert (await client.batch(model, [f"e00{n}" for n in range(10)])).status_code == 200


@pytest.mark.http2_client
async def test_a_hedged_read_goes_through_the_app_profile_of_the_other_cluster(harsh, model):
    profiles = {"app_profile": "near", "hedge_app_profile": "far"}
    async with harsh(profiles) as (bigtable, client):
        bigtable.resets.append(INTERNAL_ERROR)
        assert (await client.lookup(model, "e001")).status_code == 200
        assert bigtable.reads == [([b"e001"], "far")]
        bigtable.resets.append(REFUSED_STREAM)
        assert (await client.lookup(model, "e002")).status_code == 200
        assert bigtable.reads[1:] == [([b"e002"], "near")]


class RotatingCredentials:
    """Credentials whose token is that of the Bigtable at the time of the last refresh."""

    def __init__(self, bigtable):
        self._bigtable = bigtable
        self.token = None
        self.expiry = None

    def refresh(self, _request):
        self.token = self._bigtable.token
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=2)


@pytest.mark.http2_client
async def test_lookups_are_answered_again_once_the_token_is_renewed(store, serve, model, monkeypatch):
    async with HarshBigtable.listening(store.address, token="first") as (bigtable, port):
        target = Target("127.0.0.1", port, credentials=RotatingCredentials(bigtable))
        monkeypatch.setattr(Target, "from_environment", lambda _: target)
        async with serve(f"127.0.0.1:{port}") as client:
            assert (await client.lookup(model, "e001")).status_code == 200
            bigtable.token = "second"
            answer = await client.lookup(model, "e001")
            assert answer.status_code == 200 or "UNAUTHENTICATED" in answer.json()["detail"]
            await client.until(f"/v1/models/{model}/predictions/e001", 200)


async def test_a_replica_that_is_behind_takes_no_promotion_back(harsh, store):
    name = store.model()
    first = store.refresh(name, {"a": b"1"})
    async with harsh() as (bigtable, client):
        assert (await client.lookup(name, "a")).json()["version"] == first
        bigtable.fall_behind()
        second = await asyncio.to_thread(store.refresh, name, {"a": b"2"})

        async def promoted():
            return (await client.lookup(name, "a")).json()["version"] == second

        await eventually(promoted)
        answered = bigtable.old_answers

        async def old_answers_were_read():
            assert await promoted()
            return bigtable.old_answers >= answered + 5

        await eventually(old_answers_were_read)
        bigtable.catch_up()
        assert (await client.lookup(name, "a")).json()["prediction"] == 2
