-- GoogleSQL's functions as DuckDB macros. Parameters are untyped, so that subqueries and aggregates may be arguments.
-- `typeof` is constant when a statement is planned, so branches for other types cost nothing.

-- `list_transform([x], lambda v: ...)[1]` evaluates an argument once that a macro names several times.

-- The value, or an error if the condition holds. A failing cast, unlike error(), may be inside TRY().
CREATE TEMP MACRO gsql_unless(condition, message, value) AS
  CASE WHEN CASE WHEN condition THEN CAST(message AS BOOLEAN) END THEN NULL ELSE value END;

-- hash() accepts every type and is one-to-one for DOUBLE.
CREATE TEMP MACRO gsql_infinite(x) AS
  typeof(x) = 'DOUBLE' AND (hash(x) = hash('inf'::DOUBLE) OR hash(x) = hash('-inf'::DOUBLE));
CREATE TEMP MACRO gsql_is_negative_infinity(x) AS typeof(x) = 'DOUBLE' AND hash(x) = hash('-inf'::DOUBLE);
CREATE TEMP MACRO gsql_nan(x) AS typeof(x) = 'DOUBLE' AND hash(x) = hash('nan'::DOUBLE);

-- Arithmetic.
CREATE TEMP MACRO gsql_finite(value, has_infinite_operand) AS
  gsql_unless(gsql_infinite(value) AND NOT has_infinite_operand, 'floating point overflow', value);
CREATE TEMP MACRO gsql_stored_array(x, name) AS
  gsql_unless(len(x) > list_count(x), 'Array cannot have a null element; error in writing field ' || name, coalesce(x, []));
CREATE TEMP MACRO gsql_divide(a, b) AS gsql_unless(b = 0 AND a IS NOT NULL, 'division by zero', a / b);
CREATE TEMP MACRO gsql_div(a, b) AS gsql_unless(b = 0 AND a IS NOT NULL, 'division by zero', a // b);
CREATE TEMP MACRO gsql_mod(a, b) AS gsql_unless(b = 0 AND a IS NOT NULL, 'division by zero', CASE WHEN b = -1 THEN a - a ELSE a % b END);
CREATE TEMP MACRO gsql_numeric_mod(a, b) AS CAST(gsql_mod(CAST(a AS DECIMAL(38, 9)), CAST(b AS DECIMAL(38, 9))) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_safe_divide(a, b) AS
  CASE WHEN b = 0 OR (gsql_infinite(a / b) AND NOT (gsql_infinite(a) OR gsql_infinite(b))) THEN NULL ELSE a / b END;
CREATE TEMP MACRO gsql_shift_left(a, b) AS
  gsql_unless(b < 0 AND a IS NOT NULL, 'Bitwise shift by negative offset', CASE WHEN b >= 64 THEN 0 ELSE CAST((CAST(a AS BIGINT)::BIT << CAST(b AS INTEGER)) AS BIGINT) END);
CREATE TEMP MACRO gsql_shift_right(a, b) AS
  gsql_unless(b < 0 AND a IS NOT NULL, 'Bitwise shift by negative offset', CASE WHEN b >= 64 THEN 0 ELSE CAST((CAST(a AS BIGINT)::BIT >> CAST(b AS INTEGER)) AS BIGINT) END);
CREATE TEMP MACRO gsql_log(x, base) AS CASE
  WHEN x IS NULL OR base IS NULL THEN NULL
  WHEN gsql_nan(x) OR gsql_nan(base) OR gsql_is_negative_infinity(x) OR gsql_infinite(base) THEN CAST('nan' AS DOUBLE)
  ELSE gsql_unless(base = 1, 'Floating point error in function: LOG', gsql_finite(ln(x) / ln(base), gsql_infinite(x))) END;

-- Comparisons: NaN is equal to nothing, and neither less nor greater.
CREATE TEMP MACRO gsql_unordered(a, b) AS (gsql_nan(a) OR gsql_nan(b)) AND a IS NOT NULL AND b IS NOT NULL;
CREATE TEMP MACRO gsql_equal(a, b) AS CASE WHEN gsql_unordered(a, b) THEN FALSE ELSE a = b END;
CREATE TEMP MACRO gsql_not_equal(a, b) AS CASE WHEN gsql_unordered(a, b) THEN TRUE ELSE a <> b END;
CREATE TEMP MACRO gsql_less(a, b) AS CASE WHEN gsql_unordered(a, b) THEN FALSE ELSE a < b END;
CREATE TEMP MACRO gsql_less_equal(a, b) AS CASE WHEN gsql_unordered(a, b) THEN FALSE ELSE a <= b END;

-- Conversions.
CREATE TEMP MACRO gsql_float_text(x) AS
  CASE WHEN x = 0 THEN '0'
    WHEN CAST(printf('%.15g', x) AS DOUBLE) = x THEN printf('%.15g', x) ELSE printf('%.17g', x) END;
CREATE TEMP MACRO gsql_decimal_text(text) AS
  CASE WHEN contains(text, '.') THEN rtrim(rtrim(text, '0'), '.') ELSE text END;
-- The fraction of a second has 0, 3 or 6 digits.
CREATE TEMP MACRO gsql_time_text(text) AS
  regexp_replace(regexp_replace(text, '(\.\d{4}|\.\d)($|\+)', '\100\2'), '(\.\d{5}|\.\d\d)($|\+)', '\10\2');
CREATE TEMP MACRO gsql_string_of(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN CAST(x AS VARCHAR)
  WHEN typeof(x) = 'DOUBLE' THEN gsql_float_text(CAST(CAST(x AS VARCHAR) AS DOUBLE))
  WHEN typeof(x) LIKE 'DECIMAL%' THEN gsql_decimal_text(CAST(x AS VARCHAR))
  WHEN typeof(x) LIKE 'TIME%' THEN gsql_time_text(CAST(x AS VARCHAR))
  WHEN typeof(x) = 'BLOB' THEN decode(CAST(CAST(x AS VARCHAR) AS BLOB))
  ELSE CAST(x AS VARCHAR) END;
CREATE TEMP MACRO gsql_text(x) AS CAST(x AS VARCHAR);
CREATE TEMP MACRO gsql_string(x) AS list_transform([x], lambda v: gsql_string_of(v))[1];
CREATE TEMP MACRO gsql_safe_string(x) AS
  CASE WHEN typeof(x) = 'BLOB' THEN TRY(decode(CAST(CAST(x AS VARCHAR) AS BLOB))) ELSE gsql_string(x) END;
CREATE TEMP MACRO gsql_is_int64(text) AS regexp_full_match(text, '\s*[+-]?(\d+|0[xX][0-9a-fA-F]+)\s*');
CREATE TEMP MACRO gsql_int64(x) AS CASE
  WHEN typeof(x) = 'DOUBLE' THEN CAST(round(CAST(x AS DOUBLE)) AS BIGINT)
  WHEN typeof(x) = 'VARCHAR' THEN gsql_unless(NOT gsql_is_int64(CAST(x AS VARCHAR)), 'Bad int64 value: ' || CAST(x AS VARCHAR), CAST(x AS BIGINT))
  ELSE CAST(x AS BIGINT) END;
CREATE TEMP MACRO gsql_safe_int64(x) AS CASE
  WHEN typeof(x) = 'DOUBLE' THEN TRY_CAST(round(CAST(x AS DOUBLE)) AS BIGINT)
  WHEN typeof(x) = 'VARCHAR' AND NOT gsql_is_int64(CAST(x AS VARCHAR)) THEN NULL
  ELSE TRY_CAST(x AS BIGINT) END;
CREATE TEMP MACRO gsql_bool(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN gsql_unless(lower(CAST(x AS VARCHAR)) NOT IN ('true', 'false'), 'Bad bool value: ' || CAST(x AS VARCHAR), lower(CAST(x AS VARCHAR)) = 'true')
  ELSE CAST(x AS BOOLEAN) END;
CREATE TEMP MACRO gsql_safe_bool(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN CASE lower(CAST(x AS VARCHAR)) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END
  ELSE TRY_CAST(x AS BOOLEAN) END;

-- Strings.
CREATE TEMP MACRO gsql_substr(s, start, size) AS gsql_unless(size < 0 AND s IS NOT NULL, 'SUBSTR length must be non-negative',
  CASE WHEN start > 0 THEN s[start:start + size - 1]
    WHEN start = 0 THEN s[1:size]
    WHEN start < -length(s) THEN s[1:size]
    ELSE s[length(s) + start + 1:length(s) + start + size] END);
CREATE TEMP MACRO gsql_substr_from(s, start) AS
  CASE WHEN start > 0 THEN s[start:] WHEN start = 0 OR start < -length(s) THEN s ELSE s[length(s) + start + 1:] END;

-- Arrays.
CREATE TEMP MACRO gsql_element(array_value, place, base) AS gsql_unless(typeof(array_value) = 'JSON', 'A subscript of JSON must be a constant in the local BigQuery', gsql_unless(
  array_value IS NOT NULL AND (place < base OR place - base >= len(array_value)), 'Array index ' || place || ' is out of bounds', array_value[place - base + 1]));
CREATE TEMP MACRO gsql_subscript(x, place) AS gsql_unless(
  typeof(x) LIKE '%[]' AND (place < 0 OR place >= len(x)), 'Array index ' || place || ' is out of bounds',
  x[CASE WHEN typeof(x) <> 'JSON' THEN place + 1 WHEN place < 0 THEN 2147483647 ELSE place END]);
CREATE TEMP MACRO gsql_safe_element(array_value, place, base) AS
  CASE WHEN place < base THEN NULL ELSE array_value[place - base + 1] END;

CREATE TEMP MACRO gsql_array(x) AS coalesce(x, []);
CREATE TEMP MACRO gsql_only(x) AS list_transform([x], lambda v: gsql_unless(len(v) > 1, 'Scalar subquery produced more than one element', v[1]))[1];
CREATE TEMP MACRO gsql_unnest(array_value) AS unnest(array_value);
CREATE TEMP MACRO gsql_positions(array_value) AS generate_subscripts(array_value, 1) - 1;

-- Dates. A week begins on day `first` after Sunday. 1970-01-01 is a Thursday.
CREATE TEMP MACRO gsql_days(x) AS date_diff('day', DATE '1970-01-01', CAST(x AS DATE));
CREATE TEMP MACRO gsql_day_of_week(x, first) AS (dayofweek(x) - first + 7) % 7;
CREATE TEMP MACRO gsql_week(x, first) AS (dayofyear(x) + 6 - gsql_day_of_week(x, first)) // 7;
CREATE TEMP MACRO gsql_week_index(x, first) AS CAST(floor((gsql_days(x) + 4 - first) / 7) AS BIGINT);
CREATE TEMP MACRO gsql_week_diff(a, b, first) AS gsql_week_index(a, first) - gsql_week_index(b, first);
CREATE TEMP MACRO gsql_in_range_of(x) AS gsql_unless(year(x) < 1 OR year(x) > 9999, 'date or time out of range', x);
CREATE TEMP MACRO gsql_in_range(x) AS list_transform([x], lambda v: gsql_in_range_of(v))[1];
CREATE TEMP MACRO gsql_week_start(x, first) AS gsql_in_range(CAST(x AS DATE) - CAST(gsql_day_of_week(CAST(x AS DATE), first) AS INTEGER));
CREATE TEMP MACRO gsql_isoyear_start(x) AS gsql_week_start(make_date(isoyear(CAST(x AS DATE)), 1, 4), 1);
CREATE TEMP MACRO gsql_isoyear_end(x) AS
  gsql_in_range(gsql_week_start(make_date(isoyear(CAST(x AS DATE)) + 1, 1, 4), 1) - 1);

-- Time zones.
CREATE TEMP MACRO gsql_is_offset(zone) AS regexp_full_match(zone, '[+-]\d{1,2}(:\d{2})?');
CREATE TEMP MACRO gsql_offset(zone) AS to_minutes(CASE WHEN gsql_is_offset(zone) THEN
  (CASE WHEN zone[1] = '-' THEN -1 ELSE 1 END) * (60 * CAST(regexp_extract(zone, '\d+') AS INTEGER)
    + coalesce(TRY_CAST(regexp_extract(zone, ':(\d+)', 1) AS INTEGER), 0)) ELSE 0 END);
CREATE TEMP MACRO gsql_zone_name(zone) AS CASE WHEN gsql_is_offset(zone) THEN 'UTC' ELSE zone END;
CREATE TEMP MACRO gsql_local(instant, zone) AS
  gsql_in_range(timezone(gsql_zone_name(zone), CAST(instant AS TIMESTAMPTZ)) + gsql_offset(zone));
CREATE TEMP MACRO gsql_instant(local_time, zone) AS
  gsql_in_range(timezone(gsql_zone_name(zone), CAST(local_time AS TIMESTAMP) - gsql_offset(zone)));

CREATE TEMP MACRO gsql_bigint(x) AS CAST(x AS BIGINT);
CREATE TEMP MACRO gsql_sum_checked(total, x) AS gsql_finite(total, coalesce(bool_or(gsql_infinite(x)), FALSE));
-- DuckDB's mean of infinities is infinite where GoogleSQL's is NaN.
CREATE TEMP MACRO gsql_avg_checked(mean, x) AS
  CASE WHEN bool_or(gsql_infinite(x)) AND count(x) > 1 THEN CAST('nan' AS DOUBLE) ELSE mean END;
CREATE TEMP MACRO gsql_min(x) AS CASE WHEN bool_or(gsql_nan(x)) THEN max(x) ELSE min(x) END;

-- NUMERIC: 38 digits, 9 of them after the point. DuckDB divides decimals as DOUBLE.
CREATE TEMP MACRO gsql_numeric_add(a, b) AS CAST(CAST(a AS DECIMAL(38, 9)) + CAST(b AS DECIMAL(38, 9)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_subtract(a, b) AS CAST(CAST(a AS DECIMAL(38, 9)) - CAST(b AS DECIMAL(38, 9)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_multiply(a, b) AS CAST(CAST(a AS DECIMAL(38, 9)) * CAST(b AS DECIMAL(38, 9)) AS DECIMAL(38, 9));
-- Through text, because DuckDB casts decimals to integers slowly, and multiplies within 38 digits.
CREATE TEMP MACRO gsql_billionths(x) AS CAST(replace(CAST(CAST(x AS DECIMAL(38, 9)) AS VARCHAR), '.', '') AS HUGEINT);
CREATE TEMP MACRO gsql_from_billionths(n) AS CAST(CAST(n AS DECIMAL(38, 0)) * CAST('0.000000001' AS DECIMAL(10, 9)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_rounded_ratio(n, d) AS sign(n) * sign(d) * ((2 * abs(n) + abs(d)) // (2 * abs(d)));
CREATE TEMP MACRO gsql_numeric_sign(a) AS CAST(sign(a) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_ratio(a, b) AS list_transform([{'n': gsql_billionths(a), 'd': gsql_billionths(b)}],
  lambda v: gsql_from_billionths(gsql_rounded_ratio(v.n * 1000000000, v.d)))[1];
CREATE TEMP MACRO gsql_numeric_divide(a, b) AS gsql_unless(b = 0 AND a IS NOT NULL, 'division by zero', gsql_numeric_ratio(a, b));
CREATE TEMP MACRO gsql_safe_numeric_divide(a, b) AS CASE WHEN b = 0 THEN NULL ELSE gsql_numeric_ratio(a, b) END;
CREATE TEMP MACRO gsql_numeric_div(a, b) AS gsql_unless(b = 0 AND a IS NOT NULL, 'division by zero',
  CAST(gsql_billionths(a) // gsql_billionths(b) AS DECIMAL(38, 9)));
CREATE TEMP MACRO gsql_numeric_round(a) AS CAST(round(CAST(a AS DECIMAL(38, 9)), 0) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_trunc(a) AS CAST(gsql_billionths(a) // 1000000000 AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_power_of_ten(k) AS CAST(10 ** k AS HUGEINT);
CREATE TEMP MACRO gsql_numeric_round_to_of(a, k) AS CASE WHEN k >= 9 THEN CAST(a AS DECIMAL(38, 9)) WHEN k < -28 THEN 0 ELSE
  gsql_from_billionths(gsql_rounded_ratio(gsql_billionths(a), gsql_power_of_ten(9 - k)) * gsql_power_of_ten(9 - k)) END;
CREATE TEMP MACRO gsql_numeric_round_to(a, k) AS list_transform([a], lambda v: gsql_numeric_round_to_of(v, k))[1];
CREATE TEMP MACRO gsql_numeric_trunc_to_of(a, k) AS CASE WHEN k >= 9 THEN CAST(a AS DECIMAL(38, 9)) WHEN k < -28 THEN 0 ELSE
  gsql_from_billionths(gsql_billionths(a) // gsql_power_of_ten(9 - k) * gsql_power_of_ten(9 - k)) END;
CREATE TEMP MACRO gsql_numeric_trunc_to(a, k) AS list_transform([a], lambda v: gsql_numeric_trunc_to_of(v, k))[1];

-- Functions of FLOAT64. DuckDB refuses an infinite argument where GoogleSQL gives NaN.
CREATE TEMP MACRO gsql_exp(x) AS gsql_finite(exp(x), gsql_infinite(x));
CREATE TEMP MACRO gsql_sinh(x) AS gsql_finite(sinh(x), gsql_infinite(x));
CREATE TEMP MACRO gsql_cosh(x) AS gsql_finite(cosh(x), gsql_infinite(x));
CREATE TEMP MACRO gsql_nan_if(condition, value) AS CASE WHEN condition THEN CAST('nan' AS DOUBLE) ELSE value END;
CREATE TEMP MACRO gsql_ln(x) AS gsql_nan_if(gsql_is_negative_infinity(x), ln(x));
CREATE TEMP MACRO gsql_log10(x) AS gsql_nan_if(gsql_is_negative_infinity(x), log10(x));
CREATE TEMP MACRO gsql_sin(x) AS gsql_nan_if(gsql_infinite(x), sin(x));
CREATE TEMP MACRO gsql_cos(x) AS gsql_nan_if(gsql_infinite(x), cos(x));
CREATE TEMP MACRO gsql_tan(x) AS gsql_nan_if(gsql_infinite(x), tan(x));
CREATE TEMP MACRO gsql_asin(x) AS gsql_nan_if(gsql_infinite(x), asin(x));
CREATE TEMP MACRO gsql_acos(x) AS gsql_nan_if(gsql_infinite(x), acos(x));
CREATE TEMP MACRO gsql_acosh(x) AS gsql_nan_if(gsql_is_negative_infinity(x), gsql_unless(x < 1, 'Floating point error in function: ACOSH', acosh(x)));
CREATE TEMP MACRO gsql_atanh(x) AS gsql_nan_if(gsql_infinite(x), gsql_unless(abs(x) >= 1 AND NOT gsql_nan(x), 'Floating point error in function: ATANH', atanh(x)));
CREATE TEMP MACRO gsql_cot(x) AS gsql_nan_if(gsql_infinite(x), gsql_unless(x = 0, 'Floating point error in function: COT', 1 / tan(x)));
CREATE TEMP MACRO gsql_csc(x) AS gsql_nan_if(gsql_infinite(x), gsql_unless(x = 0, 'Floating point error in function: CSC', 1 / sin(x)));
CREATE TEMP MACRO gsql_sec(x) AS gsql_nan_if(gsql_infinite(x), 1 / cos(x));
CREATE TEMP MACRO gsql_coth(x) AS gsql_unless(x = 0, 'Floating point error in function: COTH', 1 / tanh(x));
CREATE TEMP MACRO gsql_csch(x) AS gsql_unless(x = 0, 'Floating point error in function: CSCH', 1 / sinh(x));
CREATE TEMP MACRO gsql_pow_of(a, b) AS CASE
  WHEN gsql_nan(a) AND b = 0 THEN 1
  ELSE gsql_unless(a < 0 AND NOT gsql_infinite(a) AND NOT gsql_infinite(b) AND NOT gsql_nan(b) AND b <> trunc(b), 'Floating point error in function: POW',
    gsql_finite(pow(a, b), gsql_infinite(a) OR gsql_infinite(b))) END;
CREATE TEMP MACRO gsql_pow(a, b) AS list_transform([{'a': a, 'b': b}], lambda v: gsql_pow_of(v.a, v.b))[1];
CREATE TEMP MACRO gsql_sqrt(x) AS sqrt(x);
CREATE TEMP MACRO gsql_sign(x) AS CASE WHEN gsql_nan(x) THEN x ELSE sign(x) END;
CREATE TEMP MACRO gsql_round(x) AS CASE WHEN typeof(x) IN ('BIGINT', 'INTEGER') THEN CAST(x AS DOUBLE) ELSE round(x) END;
CREATE TEMP MACRO gsql_round_to(x, k) AS CASE WHEN gsql_infinite(x) OR gsql_nan(x) THEN CASE WHEN k IS NOT NULL THEN x END ELSE round(x, CAST(k AS INTEGER)) END;
CREATE TEMP MACRO gsql_trunc(x) AS CASE WHEN typeof(x) IN ('BIGINT', 'INTEGER') THEN CAST(x AS DOUBLE) ELSE trunc(x) END;
CREATE TEMP MACRO gsql_trunc_to(x, k) AS CASE WHEN gsql_infinite(x) OR gsql_nan(x) THEN CASE WHEN k IS NOT NULL THEN x END ELSE trunc(x, CAST(k AS INTEGER)) END;

-- More conversions.
CREATE TEMP MACRO gsql_is_number(text) AS regexp_full_match(text, '\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*');
CREATE TEMP MACRO gsql_is_float(text) AS gsql_is_number(text) OR regexp_full_match(lower(text), '\s*[+-]?(inf|infinity|nan)\s*');
CREATE TEMP MACRO gsql_float64(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' AND gsql_is_int64(CAST(x AS VARCHAR)) AND contains(lower(CAST(x AS VARCHAR)), 'x') THEN CAST(CAST(CAST(x AS VARCHAR) AS BIGINT) AS DOUBLE)
  WHEN typeof(x) = 'VARCHAR' THEN gsql_unless(NOT gsql_is_float(CAST(x AS VARCHAR)), 'Bad double value: ' || CAST(x AS VARCHAR), CAST(x AS DOUBLE))
  ELSE CAST(x AS DOUBLE) END;
CREATE TEMP MACRO gsql_safe_float64(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' AND gsql_is_int64(CAST(x AS VARCHAR)) AND contains(lower(CAST(x AS VARCHAR)), 'x') THEN CAST(TRY_CAST(CAST(x AS VARCHAR) AS BIGINT) AS DOUBLE)
  WHEN typeof(x) = 'VARCHAR' AND NOT gsql_is_float(CAST(x AS VARCHAR)) THEN NULL
  ELSE TRY_CAST(x AS DOUBLE) END;
CREATE TEMP MACRO gsql_fixed(x) AS CASE WHEN abs(x) < 1e15 THEN printf('%.9f', x) ELSE gsql_python_format('%.9f', x) END;
CREATE TEMP MACRO gsql_numeric_of(x) AS CASE
  WHEN typeof(x) = 'DOUBLE' THEN gsql_unless(gsql_infinite(x) OR gsql_nan(x), 'Illegal conversion of non-finite floating point number to numeric', CAST(gsql_fixed(CAST(CAST(x AS VARCHAR) AS DOUBLE)) AS DECIMAL(38, 9)))
  WHEN typeof(x) = 'VARCHAR' THEN gsql_unless(NOT gsql_is_number(CAST(x AS VARCHAR)), 'Invalid NUMERIC value: ' || CAST(x AS VARCHAR), CAST(x AS DECIMAL(38, 9)))
  ELSE CAST(x AS DECIMAL(38, 9)) END;
CREATE TEMP MACRO gsql_numeric(x) AS list_transform([x], lambda v: gsql_numeric_of(v))[1];
CREATE TEMP MACRO gsql_safe_numeric_of(x) AS CASE
  WHEN typeof(x) = 'DOUBLE' THEN CASE WHEN NOT (gsql_infinite(x) OR gsql_nan(x)) THEN TRY_CAST(gsql_fixed(CAST(CAST(x AS VARCHAR) AS DOUBLE)) AS DECIMAL(38, 9)) END
  WHEN typeof(x) = 'VARCHAR' AND NOT gsql_is_number(CAST(x AS VARCHAR)) THEN NULL
  ELSE TRY_CAST(x AS DECIMAL(38, 9)) END;
CREATE TEMP MACRO gsql_safe_numeric(x) AS list_transform([x], lambda v: gsql_safe_numeric_of(v))[1];
CREATE TEMP MACRO gsql_numeric_pow(a, b) AS CAST(gsql_decimal_pow(CAST(a AS VARCHAR), CAST(b AS VARCHAR)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_sqrt(a) AS CAST(gsql_decimal_sqrt(CAST(a AS VARCHAR)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_bytes(x) AS CASE WHEN typeof(x) = 'BLOB' THEN CAST(CAST(x AS VARCHAR) AS BLOB) ELSE encode(CAST(x AS VARCHAR)) END;
CREATE TEMP MACRO gsql_safe_bytes(x) AS gsql_bytes(x);
CREATE TEMP MACRO gsql_unhex(digits) AS unhex(digits);
CREATE TEMP MACRO gsql_is_date(text) AS regexp_full_match(text, '\s*\d{4}-\d{1,2}-\d{1,2}\s*');
CREATE TEMP MACRO gsql_date(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN gsql_unless(NOT gsql_is_date(CAST(x AS VARCHAR)), 'Invalid date: ' || CAST(x AS VARCHAR), CAST(x AS DATE))
  ELSE CAST(x AS DATE) END;
CREATE TEMP MACRO gsql_safe_date(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' AND NOT gsql_is_date(CAST(x AS VARCHAR)) THEN NULL ELSE TRY_CAST(x AS DATE) END;

-- More strings.
CREATE TEMP MACRO gsql_unsupported(message, x) AS gsql_unless(TRUE, message, CAST(x AS VARCHAR));
CREATE TEMP MACRO gsql_bytes_substr(s, start, size) AS unhex(gsql_substr(hex(s), CASE WHEN start > 0 THEN 2 * start - 1 WHEN -start > octet_length(s) THEN 0 ELSE 2 * start END, 2 * size));
CREATE TEMP MACRO gsql_bytes_substr_from(s, start) AS unhex(gsql_substr_from(hex(s), CASE WHEN start > 0 THEN 2 * start - 1 WHEN -start > octet_length(s) THEN 0 ELSE 2 * start END));
CREATE TEMP MACRO gsql_concat(texts) AS CASE WHEN len(list_filter(texts, lambda t: t IS NULL)) > 0 THEN NULL ELSE array_to_string(texts, '') END;
CREATE TEMP MACRO gsql_pad_check(s, size, pattern, value) AS gsql_unless(size < 0 AND s IS NOT NULL, 'LPAD and RPAD need a size that is not negative',
  gsql_unless(pattern = '' AND s IS NOT NULL AND size IS NOT NULL, 'LPAD and RPAD need a pattern that is not empty', value));
CREATE TEMP MACRO gsql_lpad(s, size, pattern) AS gsql_pad_check(s, size, pattern, lpad(s, CAST(size AS INTEGER), CASE WHEN pattern = '' THEN ' ' ELSE pattern END));
CREATE TEMP MACRO gsql_rpad(s, size, pattern) AS gsql_pad_check(s, size, pattern, rpad(s, CAST(size AS INTEGER), CASE WHEN pattern = '' THEN ' ' ELSE pattern END));
CREATE TEMP MACRO gsql_repeat(s, n) AS gsql_unless(n < 0 AND s IS NOT NULL, 'REPEAT count must not be negative', repeat(s, n));
CREATE TEMP MACRO gsql_left(s, n) AS gsql_unless(n < 0 AND s IS NOT NULL, 'LEFT length must not be negative', s[1:n]);
CREATE TEMP MACRO gsql_right(s, n) AS gsql_unless(n < 0 AND s IS NOT NULL, 'RIGHT length must not be negative', CASE WHEN n >= length(s) THEN s ELSE s[length(s) - n + 1:] END);
CREATE TEMP MACRO gsql_list_concat(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE list_concat(a, b) END;
CREATE TEMP MACRO gsql_grouped(x) AS format('{:,}', CAST(x AS BIGINT));
CREATE TEMP MACRO gsql_printf_int(pattern, x) AS printf(pattern, CAST(x AS BIGINT));
CREATE TEMP MACRO gsql_printf_digits(pattern, x) AS CASE WHEN x < 0 THEN '-' || printf(pattern, -CAST(x AS BIGINT)) ELSE printf(pattern, CAST(x AS BIGINT)) END;
CREATE TEMP MACRO gsql_printf_float(pattern, x) AS CASE WHEN abs(CAST(x AS DOUBLE)) < 1e15 THEN printf(pattern, CAST(x AS DOUBLE)) ELSE gsql_python_format(pattern, CAST(x AS DOUBLE)) END;
CREATE TEMP MACRO gsql_null_text(text) AS coalesce(text, 'NULL');
CREATE TEMP MACRO gsql_printf_text(pattern, x) AS CASE WHEN pattern = '%s' THEN x ELSE printf(pattern, x) END;
CREATE TEMP MACRO gsql_shown_of(x) AS CASE
  WHEN typeof(x) = 'DOUBLE' THEN CASE WHEN gsql_nan(x) OR gsql_infinite(x) OR contains(gsql_string(x), '.') OR contains(gsql_string(x), 'e')
    THEN gsql_string(x) ELSE gsql_string(x) || '.0' END
  WHEN typeof(x) = 'VARCHAR' OR typeof(x) LIKE 'TIME%' OR typeof(x) LIKE 'DECIMAL%' OR typeof(x) IN ('BIGINT', 'INTEGER', 'BOOLEAN', 'DATE', 'BLOB', '"NULL"') THEN gsql_string(x)
  ELSE gsql_unsupported('FORMAT of this type is not supported by the local BigQuery', x) END;
CREATE TEMP MACRO gsql_shown(x) AS list_transform([x], lambda v: gsql_shown_of(v))[1];
CREATE TEMP MACRO gsql_literal_of(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN '"' || replace(replace(replace(CAST(x AS VARCHAR), '\', '\\'), '"', '\"'), chr(10), '\n') || '"'
  WHEN typeof(x) = 'DOUBLE' THEN CASE WHEN gsql_nan(x) OR gsql_infinite(x) THEN 'CAST("' || gsql_string(x) || '" AS FLOAT64)'
    WHEN contains(gsql_string(x), '.') OR contains(gsql_string(x), 'e') THEN gsql_string(x) ELSE gsql_string(x) || '.0' END
  WHEN typeof(x) LIKE 'DECIMAL%' THEN 'NUMERIC "' || gsql_string(x) || '"'
  WHEN typeof(x) = 'DATE' THEN 'DATE "' || gsql_string(x) || '"'
  WHEN typeof(x) = 'TIMESTAMP' THEN 'DATETIME "' || gsql_string(x) || '"'
  WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN 'TIMESTAMP "' || gsql_string(x) || '"'
  WHEN typeof(x) = 'TIME' THEN 'TIME "' || gsql_string(x) || '"'
  ELSE gsql_string(x) END;
CREATE TEMP MACRO gsql_literal(x) AS list_transform([x], lambda v: gsql_literal_of(v))[1];

-- More dates and times.
CREATE TEMP MACRO gsql_datetime(x) AS CASE WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN timezone('UTC', CAST(x AS TIMESTAMPTZ)) ELSE CAST(x AS TIMESTAMP) END;
CREATE TEMP MACRO gsql_time(x) AS CASE WHEN typeof(x) IN ('TIME', 'VARCHAR') THEN CAST(CAST(x AS VARCHAR) AS TIME) ELSE CAST(gsql_datetime(x) AS TIME) END;
CREATE TEMP MACRO gsql_date_trunc(part, x) AS CAST(date_trunc(part, CAST(x AS DATE)) AS DATE);
CREATE TEMP MACRO gsql_time_trunc(part, x) AS date_trunc(part, CAST(x AS TIMESTAMP));
CREATE TEMP MACRO gsql_time_of_day_trunc(part, x) AS CAST(date_trunc(part, DATE '1970-01-01' + x) AS TIME);
CREATE TEMP MACRO gsql_isoyear_diff(a, b) AS isoyear(CAST(a AS DATE)) - isoyear(CAST(b AS DATE));
CREATE TEMP MACRO gsql_parts_between(part, a, b) AS date_diff(part, CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP));
CREATE TEMP MACRO gsql_time_diff(part, a, b) AS date_diff(part, DATE '1970-01-01' + b, DATE '1970-01-01' + a);
CREATE TEMP MACRO gsql_unit(part) AS CASE part WHEN 'microsecond' THEN 1 WHEN 'millisecond' THEN 1000 WHEN 'second' THEN 1000000
  WHEN 'minute' THEN 60000000 WHEN 'hour' THEN 3600000000 WHEN 'day' THEN 86400000000 END;
CREATE TEMP MACRO gsql_span(part, a, b) AS (epoch_us(CAST(a AS TIMESTAMPTZ)) - epoch_us(CAST(b AS TIMESTAMPTZ))) // gsql_unit(part);
CREATE TEMP MACRO gsql_isoweek(x) AS weekofyear(x);
CREATE TEMP MACRO gsql_dayofweek(x) AS dayofweek(x) + 1;
CREATE TEMP MACRO gsql_part_microsecond(x) AS microsecond(x) % 1000000;
CREATE TEMP MACRO gsql_part_millisecond(x) AS (microsecond(x) % 1000000) // 1000;
CREATE TEMP MACRO gsql_part_second(x) AS second(x);
CREATE TEMP MACRO gsql_part_minute(x) AS minute(x);
CREATE TEMP MACRO gsql_part_hour(x) AS hour(x);
CREATE TEMP MACRO gsql_part_day(x) AS day(x);
CREATE TEMP MACRO gsql_part_dayofyear(x) AS dayofyear(x);
CREATE TEMP MACRO gsql_part_month(x) AS month(x);
CREATE TEMP MACRO gsql_part_quarter(x) AS quarter(x);
CREATE TEMP MACRO gsql_part_year(x) AS year(x);
CREATE TEMP MACRO gsql_part_isoyear(x) AS isoyear(x);
CREATE TEMP MACRO gsql_week_end(x, first) AS gsql_in_range(gsql_week_start(x, first) + 6);
CREATE TEMP MACRO gsql_last_day(x, months, part) AS CAST(date_trunc(part, CAST(x AS DATE)) + to_months(months) - INTERVAL 1 DAY AS DATE);
CREATE TEMP MACRO gsql_interval(n, part) AS CASE part
  WHEN 'microsecond' THEN to_microseconds(n) WHEN 'millisecond' THEN to_milliseconds(n) WHEN 'second' THEN to_seconds(n)
  WHEN 'minute' THEN to_minutes(n) WHEN 'hour' THEN to_hours(n) WHEN 'day' THEN to_days(CAST(n AS INTEGER)) WHEN 'week' THEN to_days(CAST(7 * n AS INTEGER))
  WHEN 'month' THEN to_months(CAST(n AS INTEGER)) WHEN 'quarter' THEN to_months(CAST(3 * n AS INTEGER)) WHEN 'year' THEN to_months(CAST(12 * n AS INTEGER)) END;
CREATE TEMP MACRO gsql_add_date(x, n, part) AS gsql_in_range(CAST(CAST(x AS DATE) + gsql_interval(n, part) AS DATE));
CREATE TEMP MACRO gsql_add_datetime(x, n, part) AS gsql_in_range(CAST(x AS TIMESTAMP) + gsql_interval(n, part));
CREATE TEMP MACRO gsql_add_timestamp(x, n, part) AS gsql_in_range(CAST(x AS TIMESTAMPTZ) + gsql_interval(n, part));
CREATE TEMP MACRO gsql_add_time(x, n, part) AS CAST(DATE '2000-01-01' + x + gsql_interval(n, part) AS TIME);
CREATE TEMP MACRO gsql_date_plus(x, n) AS gsql_in_range(CAST(x AS DATE) + CAST(n AS INTEGER));
CREATE TEMP MACRO gsql_date_minus(x, n) AS gsql_in_range(CAST(x AS DATE) - CAST(n AS INTEGER));
CREATE TEMP MACRO gsql_date_interval(a, b) AS to_days(CAST(CAST(a AS DATE) - CAST(b AS DATE) AS INTEGER));
CREATE TEMP MACRO gsql_time_interval(a, b) AS to_microseconds(epoch_us(a) - epoch_us(b));
CREATE TEMP MACRO gsql_local_date(x, zone) AS CAST(gsql_local(x, zone) AS DATE);
CREATE TEMP MACRO gsql_local_time(x, zone) AS CAST(gsql_local(x, zone) AS TIME);
CREATE TEMP MACRO gsql_datetime_of(day, clock) AS CAST(day AS DATE) + clock;
CREATE TEMP MACRO gsql_unix_seconds(x) AS (epoch_us(x) - (epoch_us(x) % 1000000 + 1000000) % 1000000) // 1000000;
CREATE TEMP MACRO gsql_unix_millis(x) AS (epoch_us(x) - (epoch_us(x) % 1000 + 1000) % 1000) // 1000;
CREATE TEMP MACRO gsql_zone_text(minutes) AS CASE WHEN minutes < 0 THEN '-' ELSE '+' END || lpad(CAST(abs(minutes) // 60 AS VARCHAR), 2, '0')
  || CASE WHEN minutes % 60 <> 0 THEN ':' || lpad(CAST(abs(minutes) % 60 AS VARCHAR), 2, '0') ELSE '' END;
CREATE TEMP MACRO gsql_zone_minutes(instant, zone) AS
  date_diff('minute', timezone('UTC', CAST(instant AS TIMESTAMPTZ)), gsql_local(instant, zone));
CREATE TEMP MACRO gsql_timestamp_text_of(x, zone) AS gsql_string(gsql_local(x, zone)) || gsql_zone_text(gsql_zone_minutes(x, zone));
CREATE TEMP MACRO gsql_timestamp_text(x, zone) AS list_transform([x], lambda v: gsql_timestamp_text_of(v, zone))[1];
CREATE TEMP MACRO gsql_timestamp_from_any(x, zone) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN gsql_timestamp_of_text(CAST(x AS VARCHAR), zone)
  WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN CAST(CAST(x AS VARCHAR) AS TIMESTAMPTZ)
  ELSE gsql_instant(CAST(CAST(x AS VARCHAR) AS TIMESTAMP), zone) END;

-- Formats: `gsql_format` and `gsql_parse` are functions in Python.
CREATE TEMP MACRO gsql_format_date(pattern, x, zone) AS gsql_format(pattern, CAST(CAST(x AS DATE) AS TIMESTAMP), 0);
CREATE TEMP MACRO gsql_format_datetime(pattern, x, zone) AS gsql_format(pattern, CAST(x AS TIMESTAMP), 0);
CREATE TEMP MACRO gsql_format_timestamp_of(pattern, x, zone) AS gsql_format(pattern, gsql_local(x, zone), gsql_zone_minutes(x, zone));
CREATE TEMP MACRO gsql_format_timestamp(pattern, x, zone) AS list_transform([x], lambda v: gsql_format_timestamp_of(pattern, v, zone))[1];
CREATE TEMP MACRO gsql_format_time(pattern, x, zone) AS gsql_format(pattern, DATE '1970-01-01' + x, 0);
-- With elements that DuckDB writes like GoogleSQL, from the year 1000 on.
CREATE TEMP MACRO gsql_strftime(pattern, x) AS CASE WHEN year(x) >= 1000 THEN strftime(x, pattern) ELSE gsql_format(pattern, x, 0) END;
CREATE TEMP MACRO gsql_strftime_date(pattern, x, zone) AS gsql_strftime(pattern, CAST(CAST(x AS DATE) AS TIMESTAMP));
CREATE TEMP MACRO gsql_strftime_datetime(pattern, x, zone) AS gsql_strftime(pattern, CAST(x AS TIMESTAMP));
CREATE TEMP MACRO gsql_strftime_timestamp(pattern, x, zone) AS list_transform([gsql_local(x, zone)], lambda v: gsql_strftime(pattern, v))[1];
CREATE TEMP MACRO gsql_strftime_time(pattern, x, zone) AS strftime(DATE '1970-01-01' + x, pattern);
CREATE TEMP MACRO gsql_parse_timestamp(pattern, text, zone) AS CASE WHEN gsql_parse_zone(pattern, text) IS NULL
  THEN gsql_instant(gsql_parse(pattern, text), zone) ELSE timezone('UTC', gsql_parse(pattern, text) - to_minutes(gsql_parse_zone(pattern, text))) END;
CREATE TEMP MACRO gsql_parse_datetime(pattern, text, zone) AS gsql_parse(pattern, text);
CREATE TEMP MACRO gsql_parse_date(pattern, text, zone) AS CAST(gsql_parse(pattern, text) AS DATE);
CREATE TEMP MACRO gsql_parse_time(pattern, text, zone) AS CAST(gsql_parse(pattern, text) AS TIME);

-- JSON: https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings
CREATE TEMP MACRO gsql_json_text(s) AS
  replace(replace(CAST(to_json(s) AS VARCHAR), chr(8232), '\u2028'), chr(8233), '\u2029');
CREATE TEMP MACRO gsql_quoted_if(condition, text) AS CASE WHEN condition THEN '"' || text || '"' ELSE text END;
CREATE TEMP MACRO gsql_json_int64(x, stringify) AS
  gsql_quoted_if(stringify AND (x > 9007199254740992 OR x < -9007199254740992), CAST(x AS VARCHAR));
CREATE TEMP MACRO gsql_json_float64(x) AS CASE WHEN isfinite(x) THEN gsql_float_text(x) WHEN isnan(x) THEN '"NaN"' WHEN x > 0 THEN '"Infinity"' WHEN x < 0 THEN '"-Infinity"' END;
-- The type JSON keeps the point of a FLOAT64.
CREATE TEMP MACRO gsql_json_point(text) AS CASE WHEN contains(text, '.') OR contains(text, 'e') OR contains(text, '"') THEN text ELSE text || '.0' END;
-- `gsql_json_deep` is a function in Python, for structs and arrays.
CREATE TEMP MACRO gsql_json_of(x, stringify) AS CASE
  WHEN x IS NULL THEN 'null'
  WHEN typeof(x) = 'VARCHAR' THEN gsql_json_text(CAST(x AS VARCHAR))
  WHEN typeof(x) IN ('BIGINT', 'INTEGER', 'HUGEINT', 'SMALLINT', 'TINYINT') THEN gsql_json_int64(CAST(CAST(x AS VARCHAR) AS HUGEINT), stringify)
  WHEN typeof(x) LIKE 'DECIMAL%' THEN gsql_quoted_if(stringify AND (contains(gsql_decimal_text(CAST(x AS VARCHAR)), '.') OR length(CAST(x AS VARCHAR)) > 25), gsql_decimal_text(CAST(x AS VARCHAR)))
  WHEN typeof(x) = 'DOUBLE' THEN CASE WHEN stringify THEN gsql_json_float64(CAST(CAST(x AS VARCHAR) AS DOUBLE)) ELSE gsql_json_point(gsql_json_float64(CAST(CAST(x AS VARCHAR) AS DOUBLE))) END
  WHEN typeof(x) = 'BOOLEAN' THEN CAST(x AS VARCHAR)
  WHEN typeof(x) = 'BLOB' THEN '"' || to_base64(CAST(CAST(x AS VARCHAR) AS BLOB)) || '"'
  WHEN typeof(x) IN ('DATE', 'TIME') THEN '"' || gsql_string_of(x) || '"'
  WHEN typeof(x) = 'TIMESTAMP' THEN '"' || replace(gsql_string_of(x), ' ', 'T') || '"'
  WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN '"' || replace(replace(gsql_string_of(x), ' ', 'T'), '+00', 'Z') || '"'
  ELSE gsql_json_deep(CAST(to_json(x) AS VARCHAR), typeof(x), stringify) END;
CREATE TEMP MACRO gsql_json(x, stringify) AS list_transform([x], lambda v: gsql_json_of(v, stringify))[1];
CREATE TEMP MACRO gsql_json_list(x, stringify) AS
  CASE WHEN x IS NULL THEN 'null' ELSE '[' || array_to_string(list_transform(x, lambda e: gsql_json(e, stringify)), ',') || ']' END;
CREATE TEMP MACRO gsql_to_json(text) AS CAST(text AS JSON);

-- Further functions.
CREATE TEMP MACRO gsql_join(a, b) AS a || b;
CREATE TEMP MACRO gsql_reverse_bytes(x) AS unhex(array_to_string(list_reverse(regexp_extract_all(hex(x), '..')), ''));
CREATE TEMP MACRO gsql_join_list(texts, separator) AS CASE WHEN len(texts) = 0 THEN '' ELSE list_reduce(texts, lambda a, b: a || separator || b) END;
CREATE TEMP MACRO gsql_array_to_string(texts, separator) AS CASE WHEN texts IS NOT NULL AND separator IS NOT NULL
  THEN gsql_join_list(list_filter(texts, lambda t: t IS NOT NULL), separator) END;
CREATE TEMP MACRO gsql_array_to_string_with(texts, separator, absent) AS CASE WHEN texts IS NOT NULL AND separator IS NOT NULL AND absent IS NOT NULL
  THEN gsql_join_list(list_transform(texts, lambda t: coalesce(t, absent)), separator) END;
CREATE TEMP MACRO gsql_range_bucket(x, bounds) AS CASE WHEN x IS NOT NULL AND NOT gsql_nan(x) AND bounds IS NOT NULL THEN
  gsql_unless(len(list_filter(bounds, lambda b: b IS NULL OR gsql_nan(b))) > 0, 'Elements in input array to RANGE_BUCKET cannot be NULL or NaN',
  gsql_unless(list_sort(bounds) <> bounds, 'Elements in input array to RANGE_BUCKET must be in ascending order',
  len(list_filter(bounds, lambda b: b <= x)))) END;
CREATE TEMP MACRO gsql_valid_json(x) AS CASE WHEN typeof(x) = 'VARCHAR' AND NOT json_valid(CAST(x AS VARCHAR)) THEN NULL ELSE x END;
CREATE TEMP MACRO gsql_split(s, separator) AS CASE WHEN separator IS NOT NULL THEN str_split(s, separator) END;
CREATE TEMP MACRO gsql_generate_array(first, last, step) AS CASE WHEN first IS NOT NULL AND last IS NOT NULL AND step IS NOT NULL THEN
  gsql_unless(step = 0, 'Sequence step cannot be 0.', generate_series(CAST(first AS BIGINT), CAST(last AS BIGINT), CAST(step AS BIGINT))) END;
CREATE TEMP MACRO gsql_generate_float_array(first, last, step) AS CASE WHEN first IS NOT NULL AND last IS NOT NULL AND step IS NOT NULL THEN
  gsql_unless(step = 0, 'Sequence step cannot be 0.',
  list_transform(range(CAST(floor((last - first) / step) AS BIGINT) + 1), lambda i: CAST(first + i * step AS DOUBLE))) END;
CREATE TEMP MACRO gsql_levenshtein(a, b) AS CASE WHEN octet_length(encode(a)) = length(a) AND octet_length(encode(b)) = length(b) THEN levenshtein(a, b) ELSE gsql_edit_distance(a, b) END;
CREATE TEMP MACRO gsql_bit_count(x) AS bit_count(CAST(x AS BIGINT));
CREATE TEMP MACRO gsql_unicode(s) AS CASE WHEN s = '' THEN 0 ELSE unicode(s) END;
CREATE TEMP MACRO gsql_chr(x) AS chr(CAST(x AS INTEGER));
CREATE TEMP MACRO gsql_trim(s) AS regexp_replace(s, '^[\s\p{Z}\x0B\x85]+|[\s\p{Z}\x0B\x85]+$', '', 'g');
CREATE TEMP MACRO gsql_ltrim(s) AS regexp_replace(s, '^[\s\p{Z}\x0B\x85]+', '');
CREATE TEMP MACRO gsql_rtrim(s) AS regexp_replace(s, '[\s\p{Z}\x0B\x85]+$', '');
CREATE TEMP MACRO gsql_numeric_ceil(x) AS gsql_from_billionths(-((-gsql_billionths(x) - ((-gsql_billionths(x)) % 1000000000 + 1000000000) % 1000000000)));
CREATE TEMP MACRO gsql_numeric_floor(x) AS gsql_from_billionths(gsql_billionths(x) - (gsql_billionths(x) % 1000000000 + 1000000000) % 1000000000);
CREATE TEMP MACRO gsql_numeric_abs(x) AS CAST(abs(CAST(x AS DECIMAL(38, 9))) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_ceil(x) AS CASE WHEN typeof(x) IN ('BIGINT', 'INTEGER') THEN CAST(x AS DOUBLE) ELSE ceil(x) END;
CREATE TEMP MACRO gsql_floor(x) AS CASE WHEN typeof(x) IN ('BIGINT', 'INTEGER') THEN CAST(x AS DOUBLE) ELSE floor(x) END;
CREATE TEMP MACRO gsql_abs(x) AS abs(x);
CREATE TEMP MACRO gsql_parse_numeric(text) AS gsql_unless(contains(text, '_'), 'Invalid input to PARSE_NUMERIC', CAST(replace(regexp_replace(text, '([+-])\s+', '\1'), ',', '') AS DECIMAL(38, 9)));
CREATE TEMP MACRO gsql_safe_time(x) AS TRY(gsql_time(x));
CREATE TEMP MACRO gsql_safe_datetime(x) AS TRY(gsql_datetime(x));
CREATE TEMP MACRO gsql_safe_timestamp(x) AS TRY(gsql_timestamp_from_any(x, 'UTC'));
CREATE TEMP MACRO gsql_byte_length(x) AS octet_length(x);
CREATE TEMP MACRO gsql_join_text(a, b) AS CAST(a || b AS VARCHAR);
CREATE TEMP MACRO gsql_position(value, s, place) AS gsql_unless(place = 0 AND s IS NOT NULL, 'Position must be non-zero',
  gsql_unless(place < 0 AND s IS NOT NULL, 'INSTR from the end is not supported by the local BigQuery', value));
CREATE TEMP MACRO gsql_from_end(place, size) AS CASE WHEN place >= 0 THEN place WHEN -place > size THEN 0 ELSE size + place END;
CREATE TEMP MACRO gsql_array_slice(a, first, last) AS CASE
  WHEN a IS NULL OR first IS NULL OR last IS NULL THEN NULL
  WHEN last < -len(a) OR gsql_from_end(first, len(a)) > gsql_from_end(last, len(a)) THEN a[1:0]
  ELSE a[gsql_from_end(first, len(a)) + 1:gsql_from_end(last, len(a)) + 1] END;
CREATE TEMP MACRO gsql_code_points(s) AS CASE WHEN s = '' THEN [] ELSE list_transform(string_split(s, ''), lambda c: CAST(unicode(c) AS BIGINT)) END;
CREATE TEMP MACRO gsql_corr(a, b) AS CASE WHEN count(a + b) > 1 THEN corr(a, b) END;
CREATE TEMP MACRO gsql_negative(x) AS CAST(-x AS BIGINT);
