"""Expressions over functions, types and edge values, for which the answers of GoogleSQL are recorded."""

import hashlib
import itertools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple


class Expression(NamedTuple):
    """An expression without tables.

    Attributes:
        name: the function or operator that it tests.
        sql: its text.
    """

    name: str
    sql: str


# Edge values by the placeholder that stands for them in a template.
VALUES = {
    "i": "CAST(0 AS INT64)|1|-1|2|7|-7|100|9223372036854775807|-9223372036854775808|9007199254740993"
    "|CAST(NULL AS INT64)",
    "k": "0|1|2|3|-1|-2|CAST(NULL AS INT64)",
    "f": "0.0|1.0|-1.5|2.5|0.1|3.14159|1e20|1e200|-1e300|1e-7|CAST('nan' AS FLOAT64)|CAST('inf' AS FLOAT64)"
    "|CAST('-inf' AS FLOAT64)|CAST(NULL AS FLOAT64)",
    "n": "NUMERIC '0'|NUMERIC '1'|NUMERIC '-2.5'|NUMERIC '0.000000001'|NUMERIC '123456789.123456789'"
    "|NUMERIC '99999999999999999999999999999.999999999'|CAST(NULL AS NUMERIC)",
    "B": "BIGNUMERIC '0'|BIGNUMERIC '1.5'|BIGNUMERIC '-12345678901234567890.123456789012'|CAST(NULL AS BIGNUMERIC)",
    "s": "''|'a'|'abc'|'Straße 日本 é'|'a,b,,c'|' x y '|'It\"s \\\\ \\n'|'ABC abc'|CAST(NULL AS STRING)",
    "c": "''|'a'|','|'b'|'bc'|CAST(NULL AS STRING)",
    "w": "'0'|'12'|' 7 '|'-3'|'+4'|'1.5'|'1e3'|'0x1F'|'abc'|''|'true'|'nan'|'-inf'|'9223372036854775808'|'1_000'",
    "b": "b''|b'abc'|b'\\xff\\x00a'|CAST(NULL AS BYTES)",
    "o": "TRUE|FALSE|CAST(NULL AS BOOL)",
    "d": "DATE '0001-01-01'|DATE '1969-12-31'|DATE '2020-12-31'|DATE '2021-01-03'|DATE '2024-02-29'|DATE '2024-12-29'"
    "|DATE '2024-12-30'|DATE '2026-01-01'|DATE '9999-12-31'|CAST(NULL AS DATE)",
    "t": "TIMESTAMP '1970-01-01 00:00:00+00'|TIMESTAMP '1969-12-31 23:59:59.5+00'"
    "|TIMESTAMP '2024-02-29 23:59:59.999999+00'"
    "|TIMESTAMP '2024-03-10 09:30:00+00'|TIMESTAMP '2024-12-29 00:30:15.123+00'|TIMESTAMP '0001-01-01 00:00:00+00'"
    "|TIMESTAMP '9999-12-31 23:59:59.999999+00'|CAST(NULL AS TIMESTAMP)",
    "y": "DATETIME '1970-01-01 00:00:00'|DATETIME '2024-02-29 23:59:59.999999'|DATETIME '2024-12-29 12:30:15.5'"
    "|DATETIME '2021-01-03 01:02:03'|DATETIME '9999-12-31 23:59:59'|CAST(NULL AS DATETIME)",
    "m": "TIME '00:00:00'|TIME '23:59:59.999999'|TIME '12:30:15.5'|CAST(NULL AS TIME)",
    "I": "CAST([] AS ARRAY<INT64>)|[1, 2, 3]|[5]|[3, 1, 2, 1]|CAST(NULL AS ARRAY<INT64>)",
    "N": "CAST([] AS ARRAY<INT64>)|[1, NULL, 3]|[CAST(NULL AS INT64)]|[4, 5]|CAST(NULL AS ARRAY<INT64>)",
    "F": "[1.0, 2.5]|CAST([] AS ARRAY<FLOAT64>)|[CAST('nan' AS FLOAT64), 1.0]|[0.1, 1e20]",
    "S": "CAST([] AS ARRAY<STRING>)|['a', 'b']|['']|['x', NULL, 'y']|CAST(NULL AS ARRAY<STRING>)",
    "P": "DAY|WEEK|WEEK(MONDAY)|WEEK(SATURDAY)|ISOWEEK|MONTH|QUARTER|YEAR|ISOYEAR",
    "L": "WEEK|WEEK(MONDAY)|ISOWEEK|MONTH|QUARTER|YEAR|ISOYEAR",
    "E": "DAYOFWEEK|DAY|DAYOFYEAR|WEEK|WEEK(MONDAY)|WEEK(TUESDAY)|ISOWEEK|MONTH|QUARTER|YEAR|ISOYEAR",
    "A": "DAY|WEEK|MONTH|QUARTER|YEAR",
    "H": "MICROSECOND|MILLISECOND|SECOND|MINUTE|HOUR",
    "D": "MICROSECOND|SECOND|HOUR|DAY",
    "Z": "'UTC'|'America/Los_Angeles'|'Asia/Kolkata'|'+05:30'|'-08'|'Nowhere/Nothing'",
}
POOLS = {name: text.split("|") for name, text in VALUES.items()}

# Templates by area. The name of an expression is that of its first function, unless a name and `::` precede it.
TEMPLATES = """
# Operators
+::{i} + {i}
+::{f} + {f}
+::{n} + {n}
+::{i} + {f}
+::{i} + {n}
-::{i} - {i}
-::{f} - {f}
-::{n} - {n}
-::-({i})
*::{i} * {i}
*::{f} * {f}
*::{n} * {n}
*::{i} * {f}
*::{f} * {f} + {f}
/::{i} / {i}
/::{f} / {f}
/::{n} / {n}
/::{i} / {n}
/::{i} / {f}
/::{f} / ({f} * {f})
~::~{k}
&::{k} & {k}
|::{k} | {k}
^::{k} ^ {k}
<<::{k} << {k}
>>::{i} >> {k}
=::{f} = {f}
=::{i} = {f}
<::{f} < {f}
<::{s} < {s}
>=::{n} >= {i}
!=::{f} != {f}
IN::{f} IN ({f}, {f})
IN::{k} IN (1, NULL)
NOT IN::{k} NOT IN (1, 2)
BETWEEN::{f} BETWEEN {f} AND {f}
BETWEEN::{f} BETWEEN {i} AND 100
BETWEEN::{d} BETWEEN '1969-12-31' AND DATE '2024-12-30'
NOT IN::{f} NOT IN ({f}, 2.5)
IN UNNEST::{f} IN UNNEST({F})
IN UNNEST::{i} IN UNNEST({N})
<::{f} < {i}
>::{f} > 1
<=::{n} <= {f}
=::{b} = {b}
>::{t} > {t}
/::{i} / ({i} - {i})
*::{i} * {n}
*::(SELECT SUM(x) * {f} FROM UNNEST({F}) AS x)
IS DISTINCT FROM::{f} IS DISTINCT FROM {f}
AND::{o} AND {o}
OR::{o} OR {o}
NOT::NOT {o}
LIKE::{s} LIKE 'a%'
LIKE::{s} LIKE '%_b%'
||::{s} || {s}
||::{I} || {I}
# Numbers
MOD({i}, {i})
MOD({n}, {n})
DIV({i}, {i})
DIV({n}, {n})
ABS({i})
ABS({f})
ABS({n})
SIGN({i})
SIGN({f})
SIGN({n})
ROUND({f})
ROUND({n})
ROUND({f}, {k})
ROUND({n}, {k})
TRUNC({f})
TRUNC({f}, {k})
TRUNC({n}, {k})
CEIL({f})
CEIL({n})
CEIL({i})
FLOOR({f})
FLOOR({n})
CEILING({f})
SQRT({f})
SQRT({i})
SQRT({n})
EXP({f})
EXP({k})
LN({f})
LN({i})
LOG({f})
LOG({f}, {f})
LOG10({f})
POW({f}, {f})
POW({k}, {k})
POWER({f}, {k})
POW({n}, {k})
CBRT({f})
SIN({f})
COS({f})
TAN({f})
ASIN({f})
ACOS({f})
ATAN({f})
ATAN2({f}, {f})
SINH({f})
COSH({f})
TANH({f})
ASINH({f})
ACOSH({f})
ATANH({f})
COT({f})
CSC({f})
SEC({f})
COTH({f})
CSCH({f})
SECH({f})
GREATEST({i}, {i})
GREATEST({f}, {f})
GREATEST({f}, {f}, {f})
GREATEST({s}, {s})
GREATEST({d}, {d})
LEAST({i}, {i})
LEAST({f}, {f})
LEAST({n}, {n}, {n})
IEEE_DIVIDE({f}, {f})
IEEE_DIVIDE({i}, {i})
SAFE_DIVIDE({i}, {i})
SAFE_DIVIDE({f}, {f})
SAFE_DIVIDE({n}, {n})
SAFE_ADD({i}, {i})
SAFE_ADD({f}, {f})
SAFE_SUBTRACT({i}, {i})
SAFE_MULTIPLY({i}, {i})
SAFE_MULTIPLY({f}, {f})
SAFE_MULTIPLY({n}, {n})
SAFE_NEGATE({i})
SAFE.LN::SAFE.LN({f})
SAFE.SQRT::SAFE.SQRT({f})
SAFE.MOD::SAFE.MOD({i}, {i})
SAFE.DIV::SAFE.DIV({i}, {i})
SAFE.POW::SAFE.POW({f}, {f})
SAFE.SUBSTR::SAFE.SUBSTR({s}, 1, {k})
SAFE.PARSE_DATE::SAFE.PARSE_DATE('%Y-%m-%d', {w})
IS_NAN({f})
IS_INF({f})
RANGE_BUCKET({i}, {I})
RANGE_BUCKET({f}, {F})
RANGE_BUCKET({i}, [0, 10, 20])
# Conditions
IF({o}, {i}, {i})
IF({o}, {i}, {f})
IFNULL({i}, {k})
COALESCE({s}, {s}, 'z')
NULLIF({f}, {f})
NULLIF({i}, {i})
NULLIF({s}, {s})
CASE::CASE {k} WHEN 1 THEN 'one' WHEN 2 THEN 'two' ELSE 'many' END
CASE::CASE WHEN {o} THEN {i} ELSE {f} END
CASE::CASE {f} WHEN {f} THEN 1 WHEN 2.5 THEN 2 ELSE 3 END
# Conversions
CAST INT64 STRING::CAST({i} AS STRING)
CAST FLOAT64 STRING::CAST({f} AS STRING)
CAST NUMERIC STRING::CAST({n} AS STRING)
CAST BIGNUMERIC STRING::CAST({B} AS STRING)
CAST BOOL STRING::CAST({o} AS STRING)
CAST DATE STRING::CAST({d} AS STRING)
CAST TIMESTAMP STRING::CAST({t} AS STRING)
CAST DATETIME STRING::CAST({y} AS STRING)
CAST TIME STRING::CAST({m} AS STRING)
CAST BYTES STRING::CAST({b} AS STRING)
CAST STRING INT64::CAST({w} AS INT64)
CAST STRING FLOAT64::CAST({w} AS FLOAT64)
CAST STRING NUMERIC::CAST({w} AS NUMERIC)
CAST STRING BOOL::CAST({w} AS BOOL)
CAST STRING BYTES::CAST({s} AS BYTES)
CAST STRING DATE::CAST({w} AS DATE)
CAST FLOAT64 INT64::CAST({f} AS INT64)
CAST FLOAT64 NUMERIC::CAST({f} AS NUMERIC)
CAST FLOAT64 BOOL::CAST({k} AS BOOL)
CAST NUMERIC INT64::CAST({n} AS INT64)
CAST NUMERIC FLOAT64::CAST({n} AS FLOAT64)
CAST INT64 FLOAT64::CAST({i} AS FLOAT64)
CAST INT64 NUMERIC::CAST({i} AS NUMERIC)
CAST BOOL INT64::CAST({o} AS INT64)
CAST DATE DATETIME::CAST({d} AS DATETIME)
CAST DATE TIMESTAMP::CAST({d} AS TIMESTAMP)
CAST TIMESTAMP DATE::CAST({t} AS DATE)
CAST TIMESTAMP DATETIME::CAST({t} AS DATETIME)
CAST TIMESTAMP TIME::CAST({t} AS TIME)
CAST DATETIME DATE::CAST({y} AS DATE)
CAST DATETIME TIMESTAMP::CAST({y} AS TIMESTAMP)
SAFE_CAST INT64::SAFE_CAST({w} AS INT64)
SAFE_CAST FLOAT64::SAFE_CAST({w} AS FLOAT64)
SAFE_CAST NUMERIC::SAFE_CAST({w} AS NUMERIC)
SAFE_CAST BOOL::SAFE_CAST({w} AS BOOL)
SAFE_CAST DATE::SAFE_CAST({w} AS DATE)
SAFE_CAST FLOAT64 INT64::SAFE_CAST({f} AS INT64)
SAFE_CAST STRING::SAFE_CAST({b} AS STRING)
PARSE_NUMERIC({w})
# Strings, bytes, hashes
LENGTH({s})
LENGTH({b})
CHAR_LENGTH({s})
BYTE_LENGTH({s})
OCTET_LENGTH({s})
UPPER({s})
LOWER({s})
INITCAP({s})
REVERSE({s})
REVERSE({b})
REPEAT({s}, {k})
LPAD({s}, {k})
LPAD({s}, 5, {c})
RPAD({s}, 5, {c})
LEFT({s}, {k})
RIGHT({s}, {k})
SUBSTR({s}, {k})
SUBSTR({s}, {k}, {k})
SUBSTRING({s}, {k}, 2)
SUBSTR({b}, {k}, {k})
TRIM({s})
TRIM({s}, {c})
LTRIM({s})
RTRIM({s}, {c})
CONCAT({s}, {s})
CONCAT({s}, 'x', {s})
CONCAT({b}, {b})
REPLACE({s}, {c}, {c})
STRPOS({s}, {c})
INSTR({s}, {c})
INSTR({s}, 'b', {k})
STARTS_WITH({s}, {c})
ENDS_WITH({s}, {c})
CONTAINS_SUBSTR({s}, 'B')
SPLIT({s})
SPLIT({s}, {c})
TRANSLATE({s}, 'abc', 'xy')
ASCII({s})
UNICODE({s})
CHR({k})
CODE_POINTS_TO_STRING([97, {k}])
TO_CODE_POINTS({s})
SOUNDEX({s})
NORMALIZE({s})
NORMALIZE({s}, NFD)
NORMALIZE_AND_CASEFOLD({s})
EDIT_DISTANCE({s}, {c})
TO_HEX({b})
FROM_HEX('00ff1')
FROM_HEX('zz')
TO_BASE64({b})
FROM_BASE64('YWJj')
TO_BASE32({b})
SAFE_CONVERT_BYTES_TO_STRING({b})
MD5({s})
SHA1({s})
SHA256({s})
SHA512({b})
FARM_FINGERPRINT({s})
FARM_FINGERPRINT({b})
REGEXP_CONTAINS({s}, r'b+')
REGEXP_CONTAINS({s}, r'^a')
REGEXP_CONTAINS({s}, '(')
REGEXP_EXTRACT({s}, r'b(.)')
REGEXP_EXTRACT({s}, r'[a-c]+')
REGEXP_EXTRACT({s}, r'[a-c]', 1, 2)
REGEXP_EXTRACT_ALL({s}, r'[a-c]')
REGEXP_EXTRACT_ALL({s}, r'(.)b')
REGEXP_REPLACE({s}, r'([a-b])', r'<\\1>')
REGEXP_REPLACE({s}, r'b*', '-')
REGEXP_INSTR({s}, r'b')
REGEXP_SUBSTR({s}, r'b.')
FORMAT('%d', {i})
FORMAT('%05d|%+d|%x', {k}, {k}, {k})
FORMAT('%s', {s})
FORMAT('%10s|%-5s|', {s}, {c})
FORMAT('%f', {f})
FORMAT('%.2f', {f})
FORMAT('%e', {f})
FORMAT('%g', {f})
FORMAT('%t', {f})
FORMAT('%T', {f})
FORMAT('%t', {d})
FORMAT('%t', {t})
FORMAT('%T', {s})
FORMAT('%t', {I})
FORMAT('%.3f', {n})
FORMAT("%'d", {i})
# JSON
TO_JSON_STRING({i})
TO_JSON_STRING({f})
TO_JSON_STRING({n})
TO_JSON_STRING({B})
TO_JSON_STRING({s})
TO_JSON_STRING({b})
TO_JSON_STRING({o})
TO_JSON_STRING({d})
TO_JSON_STRING({t})
TO_JSON_STRING({y})
TO_JSON_STRING({m})
TO_JSON_STRING({I})
TO_JSON_STRING({N})
TO_JSON_STRING({F})
TO_JSON_STRING({S})
TO_JSON_STRING(STRUCT({i} AS a, {f} AS b, {s} AS c))
TO_JSON_STRING(STRUCT({t} AS t, {N} AS n, STRUCT({n} AS x, {b} AS y) AS s))
TO_JSON_STRING([STRUCT({f} AS p, {s} AS q)])
TO_JSON_STRING(STRUCT({d}, {y} AS y))
TO_JSON_STRING(STRUCT({i} AS a, {S} AS b), TRUE)
TO_JSON_STRING(NULL)
TO_JSON_STRING([STRUCT({N} AS a, STRUCT({o} AS x, {m} AS y) AS b)])
TO_JSON_STRING(STRUCT(STRUCT({f} AS f, [{f}, {f}] AS l) AS s), TRUE)
TO_JSON_STRING(STRUCT({B} AS a, {n} AS b, {i} AS c))
TO_JSON_STRING(TO_JSON({n}))
TO_JSON_STRING(TO_JSON({d}))
TO_JSON_STRING(TO_JSON({N}))
subscript::TO_JSON_STRING((JSON '{"a": [1, {"b": 2}], "c": "x"}').a[{k}])
subscript::TO_JSON_STRING((JSON '{"a": [1, {"b": 2}], "c": "x"}')['a'][1].b)
subscript::TO_JSON_STRING((JSON '[[1, 2], [3]]')[{k}][0])
subscript::TO_JSON_STRING(PARSE_JSON('{"a": {"b": [true, null]}}').a.b[{k}])
JSON_VALUE(JSON '{"a": [1, 2.50, "x"], "b": true}', '$.a[1]')
JSON_VALUE(JSON '{"a": [1, 2.50, "x"], "b": true}', '$.b')
JSON_QUERY(JSON '{"a": [1, 2.50, "x"], "b": true}', '$.a')
TO_JSON_STRING(JSON '{"a": [1, 2.0, "x"], "b": null}')
TO_JSON_STRING(TO_JSON({f}))
TO_JSON_STRING(TO_JSON({i}))
TO_JSON_STRING(TO_JSON(STRUCT({i} AS a, {s} AS b)))
TO_JSON_STRING(TO_JSON({t}))
TO_JSON_STRING(PARSE_JSON('{"b": 1.0, "a": [true, null]}'))
JSON_VALUE('{"a": {"b": "x"}, "n": 1.50, "l": [1, 2]}', '$.a.b')
JSON_VALUE('{"a": {"b": "x"}, "n": 1.50, "l": [1, 2]}', '$.n')
JSON_VALUE('{"a": {"b": "x"}, "n": 1.50, "l": [1, 2]}', '$.l[1]')
JSON_VALUE('{"a": {"b": "x"}, "n": 1.50, "l": [1, 2]}', '$.a')
JSON_VALUE('{"a": null, "t": true}', '$.t')
JSON_VALUE({s}, '$')
JSON_QUERY('{"a": {"b": "x"}, "n": 1.50}', '$.a')
JSON_QUERY('{"a": {"b": "x"}, "n": 1.50}', '$.n')
JSON_QUERY('{"a": null}', '$.a')
JSON_EXTRACT('{"a": {"b": "x"}}', '$.a')
JSON_EXTRACT_SCALAR('{"a": {"b": "x"}}', '$.a.b')
JSON_VALUE_ARRAY('{"a": ["x", 1, null]}', '$.a')
JSON_QUERY_ARRAY('{"a": ["x", 1]}', '$.a')
JSON_EXTRACT_ARRAY('[1, 2.0, "x"]')
# Arrays
ARRAY_LENGTH({N})
ARRAY_LENGTH({S})
ARRAY_CONCAT({I}, {I})
ARRAY_REVERSE({N})
ARRAY_TO_STRING({S}, ',')
ARRAY_TO_STRING({S}, ',', '-')
ARRAY_TO_STRING({S}, {c})
ARRAY_FIRST({I})
ARRAY_LAST({I})
ARRAY_SLICE({I}, {k}, {k})
OFFSET::{I}[OFFSET({k})]
OFFSET::{I}[{k}]
ORDINAL::{I}[ORDINAL({k})]
SAFE_OFFSET::{I}[SAFE_OFFSET({k})]
SAFE_ORDINAL::{I}[SAFE_ORDINAL({k})]
GENERATE_ARRAY(1, {k})
GENERATE_ARRAY({k}, 5, {k})
GENERATE_ARRAY(0.0, 1.0, 0.25)
GENERATE_DATE_ARRAY(DATE '2024-01-30', DATE '2024-04-02', INTERVAL 1 MONTH)
GENERATE_DATE_ARRAY(DATE '2024-01-30', DATE '2024-02-02', INTERVAL {k} DAY)
GENERATE_TIMESTAMP_ARRAY(TIMESTAMP '2024-01-01 00:00:00+00', TIMESTAMP '2024-01-01 02:00:00+00', INTERVAL 1 HOUR)[OFFSET(1)]
IN UNNEST::{k} IN UNNEST({N})
ARRAY::ARRAY(SELECT x * 2 FROM UNNEST({I}) AS x)
ARRAY::ARRAY(SELECT x FROM UNNEST({I}) AS x WITH OFFSET o ORDER BY o DESC)
ARRAY::ARRAY(SELECT x FROM UNNEST({F}) AS x ORDER BY x)
ARRAY::ARRAY(SELECT x FROM UNNEST({F}) AS x ORDER BY x DESC)
ARRAY::ARRAY(SELECT DISTINCT x FROM UNNEST({I}) AS x ORDER BY x)
ARRAY::ARRAY(SELECT AS STRUCT x, o FROM UNNEST({S}) AS x WITH OFFSET AS o ORDER BY o)
ARRAY_LENGTH(ARRAY(SELECT x FROM UNNEST({N}) AS x WHERE x IS NULL))
ARRAY::ARRAY(SELECT AS STRUCT x, x + 1 AS y FROM UNNEST({I}) AS x)
# Aggregates
ARRAY_AGG::(SELECT ARRAY_AGG(x) FROM UNNEST({N}) AS x)
ARRAY_AGG::(SELECT ARRAY_AGG(x IGNORE NULLS ORDER BY x) FROM UNNEST({N}) AS x)
ARRAY_AGG::(SELECT ARRAY_AGG(x ORDER BY x DESC LIMIT 2) FROM UNNEST({I}) AS x)
ARRAY_AGG::(SELECT ARRAY_AGG(x ORDER BY x) FROM UNNEST([{f}, 1.0, {f}]) AS x WHERE x IS NOT NULL)
ARRAY_AGG::(SELECT ARRAY_AGG(DISTINCT x ORDER BY x) FROM UNNEST({I}) AS x)
COUNT::(SELECT COUNT(DISTINCT x) FROM UNNEST([{f}, {f}, {f}]) AS x)
ARRAY_CONCAT_AGG::(SELECT ARRAY_CONCAT_AGG(x) FROM (SELECT {I} AS x UNION ALL SELECT [9] AS x))
STRING_AGG::(SELECT STRING_AGG(x, '-') FROM UNNEST({S}) AS x)
STRING_AGG::(SELECT STRING_AGG(x ORDER BY x DESC) FROM UNNEST({S}) AS x)
SUM::(SELECT SUM(x) FROM UNNEST({N}) AS x)
SUM::(SELECT SUM(x) FROM UNNEST([{i}, {i}]) AS x)
SUM::(SELECT SUM(x) FROM UNNEST([{f}, {f}]) AS x)
SUM::(SELECT SUM(x) FROM UNNEST([{n}, {n}]) AS x)
AVG::(SELECT AVG(x) FROM UNNEST({N}) AS x)
AVG::(SELECT AVG(x) FROM UNNEST([{f}, {f}]) AS x)
AVG::(SELECT AVG(x) FROM UNNEST([{n}, {n}]) AS x)
COUNT::(SELECT COUNT(x) FROM UNNEST({N}) AS x)
COUNT::(SELECT COUNT(DISTINCT x) FROM UNNEST({I}) AS x)
COUNTIF::(SELECT COUNTIF(x > 1) FROM UNNEST({N}) AS x)
MIN::(SELECT MIN(x) FROM UNNEST([{f}, {f}]) AS x)
MIN::(SELECT MIN(x) FROM UNNEST({S}) AS x)
MAX::(SELECT MAX(x) FROM UNNEST([{f}, {f}]) AS x)
MAX::(SELECT MAX(x) FROM UNNEST([{d}, {d}]) AS x)
LOGICAL_AND::(SELECT LOGICAL_AND(x) FROM UNNEST([{o}, {o}]) AS x)
LOGICAL_OR::(SELECT LOGICAL_OR(x) FROM UNNEST([{o}, {o}]) AS x)
BIT_AND::(SELECT BIT_AND(x) FROM UNNEST({I}) AS x)
BIT_OR::(SELECT BIT_OR(x) FROM UNNEST({I}) AS x)
BIT_XOR::(SELECT BIT_XOR(x) FROM UNNEST({I}) AS x)
STDDEV::(SELECT STDDEV(x) FROM UNNEST({I}) AS x)
STDDEV_POP::(SELECT STDDEV_POP(x) FROM UNNEST({I}) AS x)
VARIANCE::(SELECT VARIANCE(x) FROM UNNEST({I}) AS x)
VAR_POP::(SELECT VAR_POP(x) FROM UNNEST([{f}, {f}]) AS x)
CORR::(SELECT CORR(x, x * 2) FROM UNNEST({I}) AS x)
COVAR_SAMP::(SELECT COVAR_SAMP(x, x * 2) FROM UNNEST({I}) AS x)
COVAR_POP::(SELECT COVAR_POP(x, x * 2) FROM UNNEST({I}) AS x)
APPROX_COUNT_DISTINCT::(SELECT APPROX_COUNT_DISTINCT(x) FROM UNNEST({I}) AS x)
# Dates and times
DATE({k} + 2020, 2, {k})
DATE({y})
DATE({t})
DATE({t}, {Z})
DATE_ADD({d}, INTERVAL {k} {A})
DATE_SUB({d}, INTERVAL {k} {A})
+::{d} + {k}
-::{d} - {k}
-::{d} - {d}
DATE_DIFF({d}, {d}, {P})
DATE_TRUNC({d}, {P})
EXTRACT DATE::EXTRACT({E} FROM {d})
EXTRACT TIMESTAMP::EXTRACT({E} FROM {t})
EXTRACT TIMESTAMP::EXTRACT({H} FROM {t})
EXTRACT TIMESTAMP::EXTRACT(HOUR FROM {t} AT TIME ZONE {Z})
EXTRACT TIMESTAMP::EXTRACT(DATE FROM {t} AT TIME ZONE {Z})
EXTRACT TIMESTAMP::EXTRACT(DAYOFWEEK FROM {t} AT TIME ZONE 'America/Los_Angeles')
EXTRACT DATETIME::EXTRACT({E} FROM {y})
EXTRACT DATETIME::EXTRACT({H} FROM {y})
EXTRACT DATETIME::EXTRACT(TIME FROM {y})
EXTRACT TIME::EXTRACT({H} FROM {m})
LAST_DAY({d})
LAST_DAY({d}, {L})
LAST_DAY({y}, {L})
FORMAT_DATE('%Y-%m-%d %j %a %A %b %B', {d})
FORMAT_DATE('%F %D %x %y %C %e', {d})
FORMAT_DATE('%G-%V %U %W %u %w %Q', {d})
PARSE_DATE('%Y-%m-%d', '2024-02-29')
PARSE_DATE('%Y-%m-%d', {w})
PARSE_DATE('%m/%d/%y', '12/31/99')
PARSE_DATE('%b %e %Y', 'Feb 3 2024')
PARSE_DATE('%Y%m%d', '20240230')
UNIX_DATE({d})
DATE_FROM_UNIX_DATE({k})
TIMESTAMP({d})
TIMESTAMP({d}, {Z})
TIMESTAMP({y}, {Z})
TIMESTAMP('2024-03-10 01:02:03', {Z})
TIMESTAMP('2024-03-10T01:02:03Z')
TIMESTAMP('2024-03-10 01:02:03.25 America/New_York')
TIMESTAMP({w})
TIMESTAMP_ADD({t}, INTERVAL {k} {H})
TIMESTAMP_ADD({t}, INTERVAL {k} DAY)
TIMESTAMP_SUB({t}, INTERVAL {k} HOUR)
TIMESTAMP_DIFF({t}, {t}, {D})
TIMESTAMP_DIFF({t}, {t}, MINUTE)
TIMESTAMP_TRUNC({t}, {P})
TIMESTAMP_TRUNC({t}, {H})
TIMESTAMP_TRUNC({t}, {P}, {Z})
TIMESTAMP_TRUNC({t}, HOUR, {Z})
FORMAT_TIMESTAMP('%Y-%m-%d %H:%M:%S', {t})
FORMAT_TIMESTAMP('%F %T %Z', {t}, {Z})
FORMAT_TIMESTAMP('%c', {t})
FORMAT_TIMESTAMP('%E4Y-%m-%dT%H:%M:%E*S%Ez', {t})
FORMAT_TIMESTAMP('%E3S %I %p %s %z', {t})
FORMAT_TIMESTAMP('%FT%TZ', {t}, 'Asia/Kolkata')
PARSE_TIMESTAMP('%Y-%m-%d %H:%M:%S', '2024-03-10 01:02:03')
PARSE_TIMESTAMP('%Y-%m-%d %H:%M:%S', '2024-03-10 01:02:03', {Z})
PARSE_TIMESTAMP('%Y-%m-%dT%H:%M:%S%Ez', '2024-03-10T01:02:03+05:30')
PARSE_TIMESTAMP('%Y-%m-%d %H:%M:%E*S', '2024-03-10 01:02:03.125')
PARSE_TIMESTAMP('%F %T', {w})
PARSE_TIMESTAMP('%c', 'Thu Dec 25 07:30:00 2008')
PARSE_TIMESTAMP('%s', '1700000000')
PARSE_TIMESTAMP('%d/%b/%Y:%H:%M:%S %z', '10/Mar/2024:01:02:03 -0700')
UNIX_SECONDS({t})
UNIX_MILLIS({t})
UNIX_MICROS({t})
TIMESTAMP_SECONDS({k})
TIMESTAMP_MILLIS({i})
TIMESTAMP_MICROS({k})
STRING({t})
STRING({t}, {Z})
STRING({d})
DATETIME({d})
DATETIME({t})
DATETIME({t}, {Z})
DATETIME({d}, {m})
DATETIME(2024, 2, 29, 1, 2, 3)
DATETIME_ADD({y}, INTERVAL {k} {A})
DATETIME_ADD({y}, INTERVAL {k} {H})
DATETIME_SUB({y}, INTERVAL {k} {A})
DATETIME_DIFF({y}, {y}, {P})
DATETIME_DIFF({y}, {y}, {H})
DATETIME_TRUNC({y}, {P})
DATETIME_TRUNC({y}, {H})
FORMAT_DATETIME('%Y-%m-%d %H:%M:%S', {y})
FORMAT_DATETIME('%c|%E3S', {y})
PARSE_DATETIME('%Y-%m-%d %H:%M:%S', '2024-02-29 01:02:03')
PARSE_DATETIME('%Y-%m-%dT%H:%M:%E*S', '2024-02-29T01:02:03.5')
TIME({y})
TIME({t})
TIME({t}, {Z})
TIME(1, 2, 3)
TIME_ADD({m}, INTERVAL {k} {H})
TIME_SUB({m}, INTERVAL {k} HOUR)
TIME_DIFF({m}, {m}, {H})
TIME_TRUNC({m}, {H})
FORMAT_TIME('%H:%M:%S', {m})
FORMAT_TIME('%R %I %p', {m})
PARSE_TIME('%H:%M:%S', '01:02:03')
PARSE_TIME('%I:%M %p', '1:02 PM')
# Others
ERROR('boom')
STRUCT::STRUCT({i} AS a, {s} AS b)
STRUCT::STRUCT({i} AS a, {s} AS b).b
BIT_COUNT({k})
CAST::CAST({n} AS STRING) || CAST({f} AS STRING)
EXTRACT::EXTRACT({E} FROM {t} AT TIME ZONE {Z})
EXTRACT::EXTRACT({E} FROM DATE({t}, {Z}))
DATE_DIFF({d}, DATE '2024-01-01', {P})
TIMESTAMP_DIFF({t}, TIMESTAMP '2024-02-29 12:00:00+00', {D})
DATETIME_DIFF({y}, DATETIME '2024-01-07 00:00:01', {P})
INT64(JSON '5')
STRING(JSON '"x"')
FLOAT64(JSON '1.5')
BOOL(JSON 'true')
"""  # noqa: E501  a template is a line

_PLACEHOLDER = re.compile(r"\{(\w)\}")
_MOST = 28  # expressions of a template
_KEYWORDS = set("PLEAHDZ")  # parts of the syntax, and zones: never columns


def expressions() -> Iterator[Expression]:
    """Yield all expressions, always the same ones in the same order."""
    seen = set()
    for line in TEMPLATES.strip().splitlines():
        if line.startswith("#"):
            continue
        name, found, template = line.rpartition("::")
        name = name if found else template.split("(")[0]
        kinds = _PLACEHOLDER.findall(template)
        for number, values in enumerate(_chosen(template, [POOLS[kind] for kind in kinds])):
            is_column = number % 2 == 1 and kinds
            sql = (_over_columns if is_column else _over_literals)(template, kinds, values)
            if sql not in seen:
                seen.add(sql)
                yield Expression(name, sql)


def areas() -> dict[str, str]:
    """Return the area of each name."""
    found: dict[str, str] = {}
    area = ""
    for line in TEMPLATES.strip().splitlines():
        if line.startswith("#"):
            area = line.removeprefix("# ")
            continue
        name, separator, template = line.rpartition("::")
        found.setdefault(name if separator else template.split("(")[0], area)
    return found


def _chosen(template: str, pools: list[list[str]]) -> list[tuple[str, ...]]:
    """Return all combinations of values, or some of them if they are too many."""
    if math.prod(map(len, pools)) <= _MOST:
        return list(itertools.product(*pools))
    longest = max(map(len, pools))
    chosen = []
    for number in range(max(_MOST, longest)):
        digest = hashlib.sha256(f"{template} {number}".encode()).digest()
        chosen.append(
            tuple(pool[(number if place == 0 else digest[place]) % len(pool)] for place, pool in enumerate(pools))
        )
    return chosen


def _over_literals(template: str, _kinds: list[str], values: tuple[str, ...]) -> str:
    remaining = iter(values)
    return _PLACEHOLDER.sub(lambda _: next(remaining), template)


def _over_columns(template: str, kinds: list[str], values: tuple[str, ...]) -> str:
    """Return a subquery that has the values in columns."""
    columns = [f"{value} AS v{place}" for place, value in enumerate(values) if kinds[place] not in _KEYWORDS]
    places = iter(range(len(values)))

    def name(match: re.Match[str]) -> str:
        place = next(places)
        return values[place] if match[1] in _KEYWORDS else f"v{place}"

    sql = _PLACEHOLDER.sub(name, template)
    return f"(SELECT {sql} FROM (SELECT {', '.join(columns)}))" if columns else sql
