"""The local BigQuery answers as GoogleSQL's evaluator did, apart from the known differences."""

import json

import comparison
import expressions
import report

_SAMPLE = 15  # every 15th expression; report.py compares all


def test_a_sample_of_expressions_has_googlesqls_answers(local_bigquery):
    known = {sql for sql, _ in json.loads(comparison.DIFFERENCES.read_text())}
    answers = comparison.recorded()[::_SAMPLE]
    found = comparison.differences(local_bigquery.rest, answers)
    assert [(item.answer.sql, item.answer.value, item.here) for item in found if item.answer.sql not in known] == []


def test_the_record_has_an_answer_to_each_expression():
    recorded = [answer.sql for answer in comparison.recorded()]
    sqls = [expression.sql for expression in expressions.expressions()]
    assert set(recorded) <= set(sqls)
    assert len(recorded) > 0.99 * len(sqls)


def test_each_difference_in_a_value_has_a_reason():
    names = {answer.sql: answer.name for answer in comparison.recorded()}
    different = {
        names[sql] for sql, here in json.loads(comparison.DIFFERENCES.read_text()) if not here.startswith("error")
    }
    assert different - report.REASONS.keys() == set()


def test_the_documents_have_the_counts_and_the_differences():
    answers = comparison.recorded()
    by_sql = {answer.sql: answer for answer in answers}
    known = json.loads(comparison.DIFFERENCES.read_text())
    found = [comparison.Difference(by_sql[sql], here) for sql, here in known]
    for name, block in report.blocks(answers, found).items():
        assert report.BLOCK.search((report.ROOT / name).read_text())[0] == block
