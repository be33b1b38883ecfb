"""Assembly of rows from chunks: Google's conformance tests, and chunks that Hypothesis generates.

`readrows.json` is bigtable/v2/readrows.json of https://github.com/googleapis/conformance-tests (Apache License 2.0).
"""

import json
from itertools import groupby
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from prediction_store.messages import CellAssembler, InvalidAnswerError, ReadRowsResponse, RowAssembler

CASES = json.loads(Path(__file__).with_name("readrows.json").read_text())["readRowsTests"]
CellChunk = ReadRowsResponse.CellChunk


def assemble(assembler, responses):
    """The rows of an answer, and the error that ended it; None if it is valid."""
    rows = []
    try:
        for response in responses:
            rows += assembler.feed(response)
        assembler.finish()
    except InvalidAnswerError as error:
        return rows, error
    return rows, None


def newest(rows):
    return [(key, {family: value for family, _, _, value, _ in reversed(cells)}) for key, cells in rows]


def expected_rows(results):
    cells = [
        (
            result["rowKey"].encode(),
            (
                result.get("familyName", ""),
                result.get("qualifier", "").encode(),
                int(result.get("timestampMicros", 0)),
                result.get("value", "").encode(),
                (result["label"],) if result.get("label") else (),
            ),
        )
        for result in results
        if not result.get("error")
    ]
    return [(key, [cell for _, cell in group]) for key, group in groupby(cells, key=lambda pair: pair[0])]


@pytest.mark.parametrize("together", [True, False], ids=["one response", "a response per chunk"])
@pytest.mark.parametrize("case", CASES, ids=[case["description"] for case in CASES])
def test_rows_are_assembled_as_googles_clients_do(case, together):
    chunks = [ParseDict(fields, CellChunk()) for fields in case["chunks"]]
    parts = [chunks] if together else [[chunk] for chunk in chunks]
    responses = [ReadRowsResponse(chunks=part) for part in parts]
    results = case.get("results", [])
    fails = any(result.get("error") for result in results)
    cells, error = assemble(CellAssembler(), responses)
    rows, row_error = assemble(RowAssembler(), responses)
    assert (error is not None, row_error is not None) == (fails, fails)
    if not (fails and together):
        assert cells == expected_rows(results)
        assert rows == newest(cells)


def test_all_conformance_tests_are_run():
    assert len(CASES) == 48


FAMILIES = st.sampled_from(["a", "b", "c"])
CELLS = st.tuples(
    FAMILIES, st.sampled_from([b"p", b"q"]), st.integers(0, 3).map(lambda n: n * 1000), st.binary(max_size=12)
)
TABLES = st.dictionaries(st.binary(min_size=1, max_size=3), st.lists(CELLS, min_size=1, max_size=4), max_size=5).map(
    lambda rows: sorted((key, [(*cell, ()) for cell in cells]) for key, cells in rows.items())
)


@st.composite
def answers(draw):
    """Rows, and the chunks in which a server may send them: values in parts, repeated names, rows taken back."""
    rows, chunks = draw(TABLES), []
    for key, cells in rows:
        sent = row_chunks(draw, key, cells)
        if draw(st.booleans()) and (taken_back := draw(st.integers(0, len(sent) - 1))):
            chunks += [CellChunk.FromString(chunk.SerializeToString()) for chunk in sent[:taken_back]]
            chunks.append(CellChunk(reset_row=True))
        chunks += sent
    return rows, chunks


def row_chunks(draw, key, cells):
    chunks, last = [], None
    for family, qualifier, timestamp, value, _ in cells:
        parts = [value]
        if len(value) > 1 and draw(st.booleans()):
            cut = draw(st.integers(1, len(value) - 1))
            parts = [value[:cut], value[cut:]]
        for n, part in enumerate(parts):
            chunk = CellChunk(value=part)
            if n == 0:
                chunk.timestamp_micros = timestamp
                if last is None or last[0] != family or draw(st.booleans()):
                    chunk.family_name.value, chunk.qualifier.value = family, qualifier
                elif last[1] != qualifier or draw(st.booleans()):
                    chunk.qualifier.value = qualifier
            if not chunks or draw(st.booleans()):
                chunk.row_key = key
            if n < len(parts) - 1:
                chunk.value_size = len(value)
            chunks.append(chunk)
        last = family, qualifier
    chunks[-1].commit_row = True
    return chunks


def in_responses(chunks, sizes):
    responses, start = [], 0
    for size in sizes:
        responses.append(ReadRowsResponse(chunks=chunks[start : start + size]))
        start += size
    return [*responses, ReadRowsResponse(chunks=chunks[start:])]


SIZES = st.lists(st.integers(0, 4), max_size=8)


@given(answers(), SIZES)
def test_rows_arrive_whole_however_they_are_cut(answer, sizes):
    rows, chunks = answer
    responses = in_responses(chunks, sizes)
    assert assemble(CellAssembler(), responses) == (rows, None)
    assert assemble(RowAssembler(), responses) == (newest(rows), None)


def drop(chunks, at, _):
    del chunks[at]


def repeat(chunks, at, _):
    chunks.insert(at, chunks[at])


def swap(chunks, at, other):
    chunks[at], chunks[other] = chunks[other], chunks[at]


def lose_key(chunks, at, _):
    chunks[at].row_key = b""


def change_key(chunks, at, other):
    chunks[at].row_key = chunks[other].row_key + b"x"


def flip_commit(chunks, at, _):
    chunks[at].commit_row = not chunks[at].commit_row


def lose_family(chunks, at, _):
    chunks[at].ClearField("family_name")


def lose_qualifier(chunks, at, _):
    chunks[at].ClearField("qualifier")


def change_size(chunks, at, other):
    chunks[at].value_size = other


def flip_reset(chunks, at, _):
    chunks[at].reset_row = not chunks[at].reset_row


CORRUPTIONS = (
    drop,
    repeat,
    swap,
    lose_key,
    change_key,
    flip_commit,
    lose_family,
    lose_qualifier,
    change_size,
    flip_reset,
)


@given(answers(), st.data(), SIZES)
def test_both_assemblers_agree_on_corrupt_answers(answer, data, sizes):
    _, chunks = answer
    for corrupt in data.draw(st.lists(st.sampled_from(CORRUPTIONS), min_size=1, max_size=3)):
        if chunks:
            place = st.integers(0, len(chunks) - 1)
            corrupt(chunks, data.draw(place), data.draw(place))
    responses = in_responses(chunks, sizes)
    cells, error = assemble(CellAssembler(), responses)
    rows, row_error = assemble(RowAssembler(), responses)
    assert str(error) == str(row_error)
    assert rows == newest(cells)[: len(rows)]
    keys = [key for key, _ in cells]
    assert keys == sorted(set(keys)), "rows in order, each once"


@st.composite
def whole_rows(draw):
    """An answer as predictions have them, whose values tell key, family and row apart."""
    keys = sorted(draw(st.sets(st.binary(min_size=1, max_size=2), min_size=1, max_size=6)))
    families = draw(st.lists(FAMILIES, min_size=1, max_size=3, unique=True))
    chunks = []
    for key in keys:
        cells = [(family, b"p", 1000, key + b"|" + family.encode(), ()) for family in sorted(families)]
        chunks += row_chunks(draw, key, cells)
    return chunks


@given(whole_rows(), st.sampled_from((drop, repeat, swap, lose_key, flip_commit, lose_qualifier)), st.data())
def test_a_corrupt_answer_never_gives_a_row_the_value_of_another(chunks, corrupt, data):
    place = st.integers(0, len(chunks) - 1)
    corrupt(chunks, data.draw(place), data.draw(place))
    rows, _ = assemble(RowAssembler(), [ReadRowsResponse(chunks=chunks)])
    for key, cells in rows:
        for value in cells.values():
            assert value.rpartition(b"|")[0] == key
