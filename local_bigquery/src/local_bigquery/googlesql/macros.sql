-- GoogleSQL's functions as DuckDB macros. Parameters are untyped, so that subqueries and aggregates may be arguments.
-- `typeof` is constant when a statement is planned, so branches for other types cost nothing.

-- The value, or an error if the condition holds. A failing cast, unlike error(), may be inside TRY().
CREATE TEMP MACRO gsql_unless(condition, message, value) AS
  CASE WHEN CASE WHEN condition THEN CAST(message AS BOOLEAN) END THEN NULL ELSE value END;

-- hash() accepts every type and is one-to-one for DOUBLE.
CREATE TEMP MACRO gsql_infinite(x) AS
  typeof(x) = 'DOUBLE' AND (hash(x) = hash('inf'::DOUBLE) OR hash(x) = hash('-inf'::DOUBLE));
CREATE TEMP MACRO gsql_nan(x) AS typeof(x) = 'DOUBLE' AND hash(x) = hash('nan'::DOUBLE);

-- Arithmetic.
CREATE TEMP MACRO gsql_finite(value, has_infinite_operand) AS
  gsql_unless(gsql_infinite(value) AND NOT has_infinite_operand, 'floating point overflow', value);
CREATE TEMP MACRO gsql_divide(a, b) AS gsql_unless(b = 0, 'division by zero', a / b);
CREATE TEMP MACRO gsql_div(a, b) AS gsql_unless(b = 0, 'division by zero', a // b);
CREATE TEMP MACRO gsql_mod(a, b) AS gsql_unless(b = 0, 'division by zero', a % b);
CREATE TEMP MACRO gsql_safe_divide(a, b) AS
  CASE WHEN b = 0 OR (gsql_infinite(a / b) AND NOT (gsql_infinite(a) OR gsql_infinite(b))) THEN NULL ELSE a / b END;
CREATE TEMP MACRO gsql_ieee_divide(a, b) AS CAST(a AS DOUBLE) / CAST(b AS DOUBLE);
CREATE TEMP MACRO gsql_shift_left(a, b) AS
  gsql_unless(b < 0, 'Bitwise shift by negative offset', CASE WHEN b >= 64 THEN 0 ELSE CAST((CAST(a AS BIGINT)::BIT << CAST(b AS INTEGER)) AS BIGINT) END);
CREATE TEMP MACRO gsql_shift_right(a, b) AS
  gsql_unless(b < 0, 'Bitwise shift by negative offset', CASE WHEN b >= 64 THEN 0 ELSE CAST((CAST(a AS BIGINT)::BIT >> CAST(b AS INTEGER)) AS BIGINT) END);
CREATE TEMP MACRO gsql_log(x, base) AS
  gsql_unless(base = 1, 'LOG is undefined for base 1', gsql_finite(ln(x) / ln(base), FALSE));

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
CREATE TEMP MACRO gsql_string(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN CAST(x AS VARCHAR)
  WHEN typeof(x) = 'DOUBLE' THEN gsql_float_text(CAST(CAST(x AS VARCHAR) AS DOUBLE))
  WHEN typeof(x) LIKE 'DECIMAL%' THEN gsql_decimal_text(CAST(x AS VARCHAR))
  WHEN typeof(x) LIKE 'TIME%' THEN gsql_time_text(CAST(x AS VARCHAR))
  WHEN typeof(x) = 'BLOB' THEN decode(CAST(CAST(x AS VARCHAR) AS BLOB))
  ELSE CAST(x AS VARCHAR) END;
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
CREATE TEMP MACRO gsql_substr(s, start, size) AS gsql_unless(size < 0, 'SUBSTR length must be non-negative',
  CASE WHEN start > 0 THEN s[start:start + size - 1]
    WHEN start = 0 THEN s[1:size]
    WHEN start < -length(s) THEN s[1:size]
    ELSE s[length(s) + start + 1:length(s) + start + size] END);
CREATE TEMP MACRO gsql_substr_from(s, start) AS
  CASE WHEN start > 0 THEN s[start:] WHEN start = 0 OR start < -length(s) THEN s ELSE s[length(s) + start + 1:] END;

-- Arrays.
CREATE TEMP MACRO gsql_element(array_value, place, base) AS gsql_unless(
  place < base OR place - base >= len(array_value), 'Array index ' || place || ' is out of bounds', array_value[place - base + 1]);
CREATE TEMP MACRO gsql_safe_element(array_value, place, base) AS
  CASE WHEN place < base THEN NULL ELSE array_value[place - base + 1] END;

CREATE TEMP MACRO gsql_array(x) AS coalesce(x, []);
CREATE TEMP MACRO gsql_unnest(array_value) AS unnest(array_value);
CREATE TEMP MACRO gsql_positions(array_value) AS generate_subscripts(array_value, 1) - 1;

-- Dates. A week begins on day `first` after Sunday. 1970-01-01 is a Thursday.
CREATE TEMP MACRO gsql_days(x) AS date_diff('day', DATE '1970-01-01', CAST(x AS DATE));
CREATE TEMP MACRO gsql_day_of_week(x, first) AS (dayofweek(x) - first + 7) % 7;
CREATE TEMP MACRO gsql_week(x, first) AS (dayofyear(x) + 6 - gsql_day_of_week(x, first)) // 7;
CREATE TEMP MACRO gsql_week_index(x, first) AS CAST(floor((gsql_days(x) + 4 - first) / 7) AS BIGINT);
CREATE TEMP MACRO gsql_week_diff(a, b, first) AS gsql_week_index(a, first) - gsql_week_index(b, first);
CREATE TEMP MACRO gsql_in_range(x) AS gsql_unless(year(x) < 1 OR year(x) > 9999, 'date or time out of range', x);
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
  CASE WHEN typeof(x) = 'DOUBLE' AND bool_or(gsql_infinite(x)) THEN CAST('nan' AS DOUBLE) ELSE mean END;
CREATE TEMP MACRO gsql_min(x) AS CASE WHEN bool_or(gsql_nan(x)) THEN max(x) ELSE min(x) END;

-- NUMERIC: 38 digits, 9 of them after the point. DuckDB divides decimals as DOUBLE.
CREATE TEMP MACRO gsql_numeric_add(a, b) AS CAST(CAST(a AS DECIMAL(38, 9)) + CAST(b AS DECIMAL(38, 9)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_subtract(a, b) AS CAST(CAST(a AS DECIMAL(38, 9)) - CAST(b AS DECIMAL(38, 9)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_multiply(a, b) AS CAST(CAST(a AS DECIMAL(38, 9)) * CAST(b AS DECIMAL(38, 9)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_billionths(x) AS CAST(CAST(x AS DECIMAL(38, 9)) * 1000000000 AS HUGEINT);
CREATE TEMP MACRO gsql_from_billionths(n) AS CAST(CAST(n AS DECIMAL(38, 0)) * CAST('0.000000001' AS DECIMAL(10, 9)) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_rounded_ratio(n, d) AS
  CASE WHEN 2 * abs(n % d) >= abs(d) THEN n // d + sign(n) * sign(d) ELSE n // d END;
CREATE TEMP MACRO gsql_numeric_divide(a, b) AS gsql_unless(b = 0 AND a IS NOT NULL, 'division by zero',
  gsql_from_billionths(gsql_rounded_ratio(gsql_billionths(a) * 1000000000, gsql_billionths(b))));
CREATE TEMP MACRO gsql_safe_numeric_divide(a, b) AS
  CASE WHEN b = 0 THEN NULL ELSE gsql_from_billionths(TRY(gsql_rounded_ratio(gsql_billionths(a) * 1000000000, gsql_billionths(b)))) END;
CREATE TEMP MACRO gsql_numeric_div(a, b) AS gsql_unless(b = 0 AND a IS NOT NULL, 'division by zero',
  CAST(gsql_billionths(a) // gsql_billionths(b) AS DECIMAL(38, 9)));
CREATE TEMP MACRO gsql_numeric_sign(a) AS CAST(sign(a) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_round(a) AS CAST(round(CAST(a AS DECIMAL(38, 9)), 0) AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_numeric_trunc(a) AS CAST(gsql_billionths(a) // 1000000000 AS DECIMAL(38, 9));
CREATE TEMP MACRO gsql_power_of_ten(k) AS CAST(10 ** k AS HUGEINT);
CREATE TEMP MACRO gsql_numeric_round_to(a, k) AS CASE WHEN k >= 9 THEN CAST(a AS DECIMAL(38, 9)) WHEN k < -28 THEN 0 ELSE
  gsql_from_billionths(gsql_rounded_ratio(gsql_billionths(a), gsql_power_of_ten(9 - k)) * gsql_power_of_ten(9 - k)) END;
CREATE TEMP MACRO gsql_numeric_trunc_to(a, k) AS CASE WHEN k >= 9 THEN CAST(a AS DECIMAL(38, 9)) WHEN k < -28 THEN 0 ELSE
  gsql_from_billionths(gsql_billionths(a) // gsql_power_of_ten(9 - k) * gsql_power_of_ten(9 - k)) END;

-- Functions of FLOAT64. DuckDB refuses an infinite argument where GoogleSQL gives NaN.
CREATE TEMP MACRO gsql_exp(x) AS gsql_finite(exp(x), gsql_infinite(x));
CREATE TEMP MACRO gsql_sinh(x) AS gsql_finite(sinh(x), gsql_infinite(x));
CREATE TEMP MACRO gsql_cosh(x) AS gsql_finite(cosh(x), gsql_infinite(x));
CREATE TEMP MACRO gsql_nan_if(condition, value) AS CASE WHEN condition THEN CAST('nan' AS DOUBLE) ELSE value END;
CREATE TEMP MACRO gsql_is_negative_infinity(x) AS typeof(x) = 'DOUBLE' AND hash(x) = hash('-inf'::DOUBLE);
CREATE TEMP MACRO gsql_ln(x) AS gsql_nan_if(gsql_is_negative_infinity(x), ln(x));
CREATE TEMP MACRO gsql_log10(x) AS gsql_nan_if(gsql_is_negative_infinity(x), log10(x));
CREATE TEMP MACRO gsql_sin(x) AS gsql_nan_if(gsql_infinite(x), sin(x));
CREATE TEMP MACRO gsql_cos(x) AS gsql_nan_if(gsql_infinite(x), cos(x));
CREATE TEMP MACRO gsql_tan(x) AS gsql_nan_if(gsql_infinite(x), tan(x));
CREATE TEMP MACRO gsql_asin(x) AS gsql_nan_if(gsql_infinite(x), asin(x));
CREATE TEMP MACRO gsql_acos(x) AS gsql_nan_if(gsql_infinite(x), acos(x));
CREATE TEMP MACRO gsql_acosh(x) AS gsql_nan_if(gsql_is_negative_infinity(x), gsql_unless(x < 1, 'Floating point error in function: ACOSH', acosh(x)));
CREATE TEMP MACRO gsql_atanh(x) AS gsql_nan_if(gsql_infinite(x), gsql_unless(abs(x) >= 1, 'Floating point error in function: ATANH', atanh(x)));
CREATE TEMP MACRO gsql_cot(x) AS gsql_nan_if(gsql_infinite(x), gsql_unless(x = 0, 'Floating point error in function: COT', 1 / tan(x)));
CREATE TEMP MACRO gsql_csc(x) AS gsql_nan_if(gsql_infinite(x), gsql_unless(x = 0, 'Floating point error in function: CSC', 1 / sin(x)));
CREATE TEMP MACRO gsql_sec(x) AS gsql_nan_if(gsql_infinite(x), 1 / cos(x));
CREATE TEMP MACRO gsql_coth(x) AS gsql_unless(x = 0, 'Floating point error in function: COTH', 1 / tanh(x));
CREATE TEMP MACRO gsql_csch(x) AS gsql_unless(x = 0, 'Floating point error in function: CSCH', 1 / sinh(x));
CREATE TEMP MACRO gsql_pow(a, b) AS CASE
  WHEN gsql_nan(a) AND b = 0 THEN 1
  ELSE gsql_unless(a < 0 AND NOT gsql_infinite(a) AND NOT gsql_infinite(b) AND NOT gsql_nan(b) AND b <> trunc(b), 'Floating point error in function: POW',
    gsql_finite(pow(a, b), gsql_infinite(a) OR gsql_infinite(b))) END;
CREATE TEMP MACRO gsql_sqrt(x) AS gsql_nan_if(gsql_is_negative_infinity(x), sqrt(x));
CREATE TEMP MACRO gsql_sign(x) AS CASE
  WHEN typeof(x) = 'DOUBLE' THEN CASE WHEN gsql_nan(x) THEN x WHEN x > 0 THEN x - x + 1 ELSE sign(x) + (x - x) END ELSE sign(x) END;
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
CREATE TEMP MACRO gsql_numeric(x) AS CASE
  WHEN typeof(x) = 'DOUBLE' THEN gsql_unless(gsql_infinite(x) OR gsql_nan(x), 'Illegal conversion of non-finite floating point number to numeric', CAST(printf('%.17g', CAST(CAST(x AS VARCHAR) AS DOUBLE)) AS DECIMAL(38, 9)))
  WHEN typeof(x) = 'VARCHAR' THEN gsql_unless(NOT gsql_is_number(CAST(x AS VARCHAR)), 'Invalid NUMERIC value: ' || CAST(x AS VARCHAR), CAST(x AS DECIMAL(38, 9)))
  ELSE CAST(x AS DECIMAL(38, 9)) END;
CREATE TEMP MACRO gsql_safe_numeric(x) AS CASE
  WHEN typeof(x) = 'DOUBLE' THEN CASE WHEN NOT (gsql_infinite(x) OR gsql_nan(x)) THEN TRY_CAST(printf('%.17g', CAST(CAST(x AS VARCHAR) AS DOUBLE)) AS DECIMAL(38, 9)) END
  WHEN typeof(x) = 'VARCHAR' AND NOT gsql_is_number(CAST(x AS VARCHAR)) THEN NULL
  ELSE TRY_CAST(x AS DECIMAL(38, 9)) END;
CREATE TEMP MACRO gsql_numeric_pow(a, b) AS gsql_numeric(gsql_pow(CAST(a AS DOUBLE), CAST(b AS DOUBLE)));
CREATE TEMP MACRO gsql_numeric_sqrt(a) AS gsql_numeric(sqrt(CAST(a AS DOUBLE)));
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
CREATE TEMP MACRO gsql_bytes_substr(s, start, size) AS unhex(gsql_substr(hex(s), CASE WHEN start > 0 THEN 2 * start - 1 WHEN -start > octet_length(s) THEN 0 ELSE 2 * start END, 2 * size));
CREATE TEMP MACRO gsql_bytes_substr_from(s, start) AS unhex(gsql_substr_from(hex(s), CASE WHEN start > 0 THEN 2 * start - 1 WHEN -start > octet_length(s) THEN 0 ELSE 2 * start END));
CREATE TEMP MACRO gsql_concat(texts) AS CASE WHEN len(list_filter(texts, lambda t: t IS NULL)) > 0 THEN NULL ELSE array_to_string(texts, '') END;
CREATE TEMP MACRO gsql_pad_check(size, pattern, value) AS gsql_unless(size < 0, 'LPAD and RPAD need a size that is not negative',
  gsql_unless(pattern = '', 'LPAD and RPAD need a pattern that is not empty', value));
CREATE TEMP MACRO gsql_lpad(s, size, pattern) AS gsql_pad_check(size, pattern, lpad(s, CAST(size AS INTEGER), CASE WHEN pattern = '' THEN ' ' ELSE pattern END));
CREATE TEMP MACRO gsql_rpad(s, size, pattern) AS gsql_pad_check(size, pattern, rpad(s, CAST(size AS INTEGER), CASE WHEN pattern = '' THEN ' ' ELSE pattern END));
CREATE TEMP MACRO gsql_repeat(s, n) AS gsql_unless(n < 0, 'REPEAT count must not be negative', repeat(s, n));
CREATE TEMP MACRO gsql_left(s, n) AS gsql_unless(n < 0, 'LEFT length must not be negative', s[1:n]);
CREATE TEMP MACRO gsql_right(s, n) AS gsql_unless(n < 0, 'RIGHT length must not be negative', CASE WHEN n >= length(s) THEN s ELSE s[length(s) - n + 1:] END);
CREATE TEMP MACRO gsql_list_concat(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE list_concat(a, b) END;
CREATE TEMP MACRO gsql_unsupported(message, x) AS gsql_unless(TRUE, message, CAST(x AS VARCHAR));
CREATE TEMP MACRO gsql_grouped(x) AS format('{:,}', CAST(x AS BIGINT));
CREATE TEMP MACRO gsql_printf_int(pattern, x) AS printf(pattern, CAST(x AS BIGINT));
CREATE TEMP MACRO gsql_printf_digits(pattern, x) AS CASE WHEN x < 0 THEN '-' || printf(pattern, -CAST(x AS BIGINT)) ELSE printf(pattern, CAST(x AS BIGINT)) END;
CREATE TEMP MACRO gsql_printf_float(pattern, x) AS printf(pattern, CAST(x AS DOUBLE));
CREATE TEMP MACRO gsql_printf_text(pattern, x) AS CASE WHEN pattern = '%s' THEN x ELSE printf(pattern, x) END;
CREATE TEMP MACRO gsql_literal(x) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN '"' || replace(replace(replace(CAST(x AS VARCHAR), '\', '\\'), '"', '\"'), chr(10), '\n') || '"'
  WHEN typeof(x) = 'DOUBLE' THEN CASE WHEN gsql_nan(x) OR gsql_infinite(x) THEN 'CAST("' || gsql_string(x) || '" AS FLOAT64)'
    WHEN contains(gsql_string(x), '.') OR contains(gsql_string(x), 'e') THEN gsql_string(x) ELSE gsql_string(x) || '.0' END
  WHEN typeof(x) LIKE 'DECIMAL%' THEN 'NUMERIC "' || gsql_string(x) || '"'
  WHEN typeof(x) = 'DATE' THEN 'DATE "' || gsql_string(x) || '"'
  WHEN typeof(x) = 'TIMESTAMP' THEN 'DATETIME "' || gsql_string(x) || '"'
  WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN 'TIMESTAMP "' || gsql_string(x) || '"'
  WHEN typeof(x) = 'TIME' THEN 'TIME "' || gsql_string(x) || '"'
  ELSE gsql_string(x) END;

-- More dates and times.
CREATE TEMP MACRO gsql_datetime(x) AS CASE WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN timezone('UTC', CAST(x AS TIMESTAMPTZ)) ELSE CAST(x AS TIMESTAMP) END;
CREATE TEMP MACRO gsql_time(x) AS CASE WHEN typeof(x) = 'TIME' THEN CAST(CAST(x AS VARCHAR) AS TIME) ELSE CAST(gsql_datetime(x) AS TIME) END;
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
CREATE TEMP MACRO gsql_local_date(x, zone) AS CAST(gsql_local(x, zone) AS DATE);
CREATE TEMP MACRO gsql_local_time(x, zone) AS CAST(gsql_local(x, zone) AS TIME);
CREATE TEMP MACRO gsql_datetime_of(day, clock) AS CAST(day AS DATE) + clock;
CREATE TEMP MACRO gsql_unix_seconds(x) AS CAST(floor(epoch_us(x) / 1000000) AS BIGINT);
CREATE TEMP MACRO gsql_zone_text(minutes) AS CASE WHEN minutes < 0 THEN '-' ELSE '+' END || lpad(CAST(abs(minutes) // 60 AS VARCHAR), 2, '0')
  || CASE WHEN minutes % 60 <> 0 THEN ':' || lpad(CAST(abs(minutes) % 60 AS VARCHAR), 2, '0') ELSE '' END;
CREATE TEMP MACRO gsql_zone_minutes(instant, zone) AS
  date_diff('minute', timezone('UTC', CAST(instant AS TIMESTAMPTZ)), gsql_local(instant, zone));
CREATE TEMP MACRO gsql_timestamp_text(x, zone) AS gsql_string(gsql_local(x, zone)) || gsql_zone_text(gsql_zone_minutes(x, zone));
CREATE TEMP MACRO gsql_timestamp_from_any(x, zone) AS CASE
  WHEN typeof(x) = 'VARCHAR' THEN gsql_timestamp_of_text(CAST(x AS VARCHAR), zone)
  WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN CAST(CAST(x AS VARCHAR) AS TIMESTAMPTZ)
  ELSE gsql_instant(CAST(CAST(x AS VARCHAR) AS TIMESTAMP), zone) END;

-- Formats: `gsql_format` and `gsql_parse` are functions in Python.
CREATE TEMP MACRO gsql_format_date(pattern, x, zone) AS gsql_format(pattern, CAST(CAST(x AS DATE) AS TIMESTAMP), 0, 'UTC');
CREATE TEMP MACRO gsql_format_datetime(pattern, x, zone) AS gsql_format(pattern, CAST(x AS TIMESTAMP), 0, 'UTC');
CREATE TEMP MACRO gsql_format_timestamp(pattern, x, zone) AS gsql_format(pattern, gsql_local(x, zone), gsql_zone_minutes(x, zone), zone);
CREATE TEMP MACRO gsql_format_time(pattern, x, zone) AS gsql_format(pattern, DATE '1970-01-01' + x, 0, 'UTC');
CREATE TEMP MACRO gsql_parse_timestamp(pattern, text, zone) AS CASE WHEN gsql_parse_zone(pattern, text) IS NULL
  THEN gsql_instant(gsql_parse(pattern, text), zone) ELSE timezone('UTC', gsql_parse(pattern, text) - to_minutes(gsql_parse_zone(pattern, text))) END;
CREATE TEMP MACRO gsql_parse_datetime(pattern, text, zone) AS gsql_parse(pattern, text);
CREATE TEMP MACRO gsql_parse_date(pattern, text, zone) AS CAST(gsql_parse(pattern, text) AS DATE);
CREATE TEMP MACRO gsql_parse_time(pattern, text, zone) AS CAST(gsql_parse(pattern, text) AS TIME);

-- JSON: https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings
CREATE TEMP MACRO gsql_json_text(s) AS
  replace(replace(CAST(to_json(s) AS VARCHAR), chr(8232), '\u2028'), chr(8233), '\u2029');
CREATE TEMP MACRO gsql_json_number(text, stringify) AS CASE
  WHEN stringify AND (contains(text, '.') OR abs(TRY_CAST(text AS DECIMAL(38, 0))) > 9007199254740992) THEN '"' || text || '"' ELSE text END;
-- `gsql_json_of` is a function in Python, for structs and arrays.
CREATE TEMP MACRO gsql_json(x, stringify) AS CASE
  WHEN x IS NULL THEN 'null'
  WHEN typeof(x) = 'VARCHAR' THEN gsql_json_text(CAST(x AS VARCHAR))
  WHEN typeof(x) IN ('BIGINT', 'INTEGER', 'HUGEINT', 'SMALLINT', 'TINYINT') OR typeof(x) LIKE 'DECIMAL%' THEN gsql_json_number(gsql_string(x), stringify)
  WHEN typeof(x) = 'DOUBLE' THEN CASE WHEN gsql_nan(x) THEN '"NaN"'
    WHEN gsql_infinite(x) THEN CASE WHEN gsql_is_negative_infinity(x) THEN '"-Infinity"' ELSE '"Infinity"' END ELSE gsql_string(x) END
  WHEN typeof(x) = 'BOOLEAN' THEN CAST(x AS VARCHAR)
  WHEN typeof(x) = 'BLOB' THEN '"' || to_base64(CAST(CAST(x AS VARCHAR) AS BLOB)) || '"'
  WHEN typeof(x) IN ('DATE', 'TIME') THEN '"' || gsql_string(x) || '"'
  WHEN typeof(x) = 'TIMESTAMP' THEN '"' || replace(gsql_string(x), ' ', 'T') || '"'
  WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN '"' || replace(replace(gsql_string(x), ' ', 'T'), '+00', 'Z') || '"'
  ELSE gsql_json_of(CAST(to_json(x) AS VARCHAR), typeof(x), stringify) END;
CREATE TEMP MACRO gsql_json_list(x, stringify) AS
  CASE WHEN x IS NULL THEN 'null' ELSE '[' || array_to_string(list_transform(x, lambda e: gsql_json(e, stringify)), ',') || ']' END;
CREATE TEMP MACRO gsql_to_json(text) AS CAST(text AS JSON);
