"""FORMAT_TIMESTAMP, PARSE_TIMESTAMP and their kin in Python, because DuckDB lacks many of their format elements.

Elements: https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements#format_elements_date_time
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal, DecimalException, localcontext
from functools import lru_cache
from zoneinfo import ZoneInfo

import duckdb

from local_bigquery.googlesql.vectors import create

_SHORTHANDS = {
    "%D": "%m/%d/%y",
    "%x": "%m/%d/%y",
    "%F": "%Y-%m-%d",
    "%T": "%H:%M:%S",
    "%X": "%H:%M:%S",
    "%R": "%H:%M",
    "%r": "%I:%M:%S %p",
    "%c": "%a %b %e %H:%M:%S %Y",
    "%h": "%b",
}
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  times of formats have no zone
_DIGITS = 100  # of intermediate results; NUMERIC has 38
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the functions in a database."""
    create(connection, "gsql_format", _format, ["VARCHAR", "TIMESTAMP", "BIGINT"], "VARCHAR")
    create(connection, "gsql_parse", _parse, ["VARCHAR", "VARCHAR"], "TIMESTAMP")
    create(connection, "gsql_parse_zone", _parse_zone, ["VARCHAR", "VARCHAR"], "BIGINT")
    create(connection, "gsql_timestamp_of_text", timestamp_of_text, ["VARCHAR", "VARCHAR"], "TIMESTAMP WITH TIME ZONE")
    create(connection, "gsql_python_format", lambda pattern, x: pattern % x, ["VARCHAR", "DOUBLE"], "VARCHAR")
    create(connection, "gsql_decimal_pow", _decimal_pow, ["VARCHAR", "VARCHAR"], "VARCHAR")
    create(connection, "gsql_decimal_sqrt", _decimal_sqrt, ["VARCHAR"], "VARCHAR")
    create(connection, "gsql_edit_distance", _edit_distance, ["VARCHAR", "VARCHAR"], "BIGINT")


def _decimal_pow(base: str, exponent: str) -> str:
    with localcontext(prec=_DIGITS):
        try:
            return _billionths(Decimal(base) ** Decimal(exponent) if Decimal(exponent) else Decimal(1))
        except DecimalException as error:
            raise ValueError(f"Floating point error in function: POW({base}, {exponent})") from error


def _decimal_sqrt(value: str) -> str:
    with localcontext(prec=_DIGITS):
        try:
            return _billionths(Decimal(value).sqrt())
        except DecimalException as error:
            raise ValueError("Argument to SQRT cannot be negative") from error


def _billionths(value: Decimal) -> str:
    return f"{value.quantize(Decimal('1e-9'), ROUND_HALF_UP):f}"


def interval_text(months: int, days: int, nanoseconds: int) -> str:
    """Return an INTERVAL as text, such as `1-2 -3 4:5:6.789`: each part has a sign of its own."""
    years = f"{'-' if months < 0 else ''}{abs(months) // 12}-{abs(months) % 12}"
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    fraction = f".{rest // 1000:06}" if rest else ""
    fraction = fraction.removesuffix("000")
    clock = f"{'-' if nanoseconds < 0 else ''}{seconds // 3600}:{seconds // 60 % 60}:{seconds % 60}{fraction}"
    return f"{years} {days} {clock}"


def _edit_distance(a: str, b: str) -> int:
    """Return the Levenshtein distance in characters; DuckDB counts bytes."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (left != right))
    return row[-1]


@lru_cache(256)
def _elements(pattern: str) -> tuple[str, ...]:
    """Return the parts of a pattern: elements, which begin with %, and text."""
    for short, long in _SHORTHANDS.items():
        pattern = pattern.replace(short, long)
    return tuple(part for part in re.split(r"(%E[*\d]?[SzY]|%-?[A-Za-z%])", pattern) if part)


def _format(pattern: str, value: datetime, offset: int) -> str:
    return "".join(_formatted(part, value, offset) if part[0] == "%" else part for part in _elements(pattern))


def _formatted(part: str, t: datetime, offset: int) -> str:
    if part in _FORMATS:
        return _FORMATS[part](t, offset)
    if re.fullmatch(r"%E\dS", part):
        digits = int(part[2])
        return f"{t.second:02}" + (f".{t.microsecond:06}000"[: digits + 1] if digits else "")
    raise ValueError(f"Format element {part} is not supported by the local BigQuery")


def _offset_text(offset: int, separator: str = "") -> str:
    """Return an offset in minutes as `+0530`, or with a separator as `+05:30`."""
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}{separator}{abs(offset) % 60:02}"


def _zone_text(_: datetime, offset: int) -> str:
    hours = f"UTC{'-' if offset < 0 else '+'}{abs(offset) // 60}"
    return "UTC" if offset == 0 else hours if offset % 60 == 0 else f"UTC{_offset_text(offset)}"


# The text of each element, for a local time and the offset of its zone in minutes.
_FORMATS: dict[str, Callable[[datetime, int], str]] = {
    "%Y": lambda t, _: str(t.year),
    "%E4Y": lambda t, _: f"{t.year:04}",
    "%m": lambda t, _: f"{t.month:02}",
    "%d": lambda t, _: f"{t.day:02}",
    **dict.fromkeys(("%e", "%-d"), lambda t, _: f"{t.day:2}"),  # sqlglot writes %e as %-d
    "%f": lambda t, _: f"{t.microsecond:06}",  # sqlglot writes %E6S as %S.%f
    "%H": lambda t, _: f"{t.hour:02}",
    "%k": lambda t, _: f"{t.hour:2}",
    "%I": lambda t, _: f"{(t.hour + 11) % 12 + 1:02}",
    "%l": lambda t, _: f"{(t.hour + 11) % 12 + 1:2}",
    "%M": lambda t, _: f"{t.minute:02}",
    "%S": lambda t, _: f"{t.second:02}",
    "%E*S": lambda t, _: f"{t.second:02}" + f".{t.microsecond:06}".rstrip("0").rstrip("."),
    "%p": lambda t, _: ("AM", "PM")[t.hour // 12],
    "%P": lambda t, _: ("am", "pm")[t.hour // 12],
    "%y": lambda t, _: f"{t.year % 100:02}",
    "%C": lambda t, _: f"{t.year // 100:02}",
    **dict.fromkeys(("%j", "%J"), lambda t, _: f"{t.timetuple().tm_yday:03}"),
    "%a": lambda t, _: _DAYS[t.weekday()][:3],
    "%A": lambda t, _: _DAYS[t.weekday()],
    "%b": lambda t, _: _MONTHS[t.month - 1][:3],
    "%B": lambda t, _: _MONTHS[t.month - 1],
    "%u": lambda t, _: str(t.isoweekday()),
    "%w": lambda t, _: str(t.isoweekday() % 7),
    "%U": lambda t, _: f"{(t.timetuple().tm_yday + 6 - t.isoweekday() % 7) // 7:02}",
    "%W": lambda t, _: f"{(t.timetuple().tm_yday + 6 - t.weekday()) // 7:02}",
    "%V": lambda t, _: f"{t.isocalendar().week:02}",
    "%G": lambda t, _: str(t.isocalendar().year),
    "%g": lambda t, _: f"{t.isocalendar().year % 100:02}",
    "%Q": lambda t, _: str((t.month + 2) // 3),
    "%s": lambda t, offset: str((t - timedelta(minutes=offset) - _EPOCH) // timedelta(seconds=1)),
    "%z": lambda _, offset: _offset_text(offset),
    "%Ez": lambda _, offset: _offset_text(offset, ":"),
    "%Z": _zone_text,
    "%n": lambda *_: "\n",
    "%t": lambda *_: "\t",
    "%%": lambda *_: "%",
}
_PATTERNS = {
    "%Y": r"(?P<Y>[+-]?\d{1,5})", "%E4Y": r"(?P<Y>\d{4})", "%m": r"\s*(?P<m>\d{1,2})", "%d": r"\s*(?P<d>\d{1,2})",
    "%e": r"\s*(?P<d>\d{1,2})", "%-d": r"\s*(?P<d>\d{1,2})", "%f": r"(?P<f>\d{1,9})",
    "%H": r"\s*(?P<H>\d{1,2})", "%k": r"\s*(?P<H>\d{1,2})", "%I": r"\s*(?P<I>\d{1,2})",
    "%l": r"\s*(?P<I>\d{1,2})", "%M": r"\s*(?P<M>\d{1,2})", "%S": r"\s*(?P<S>\d{1,2})", "%p": r"(?P<p>[AaPp][Mm])",
    "%P": r"(?P<p>[AaPp][Mm])", "%y": r"(?P<y>\d{1,2})", "%j": r"(?P<j>\d{1,3})", "%a": r"[A-Za-z]{3,9}",
    "%A": r"[A-Za-z]{3,9}", "%b": r"(?P<b>[A-Za-z]{3,9})", "%B": r"(?P<b>[A-Za-z]{3,9})", "%s": r"(?P<s>-?\d+)",
    "%z": r"(?P<z>[+-]\d{2}:?\d{2}|Z)", "%Ez": r"(?P<z>[+-]\d{2}:?\d{2}|Z)", "%Z": r"(?P<Z>[A-Za-z_/+\-0-9:]+)",
    "%n": r"\s+", "%t": r"\s+", "%%": "%", "%u": r"[1-7]", "%w": r"[0-6]", "%U": r"\d{1,2}", "%W": r"\d{1,2}",
}  # fmt: skip


@lru_cache(256)
def _matcher(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in _elements(pattern):
        if part[0] != "%":
            parts.append(re.sub(r"(\\\s|\s)+", lambda _: r"\s+", re.escape(part)))
        elif part in _PATTERNS:
            found = _PATTERNS[part]
            group = re.search(r"\?P<(\w)>", found)
            used = group is not None and any(f"(?P<{group[1]}>" in earlier for earlier in parts)
            parts.append(re.sub(r"\?P<\w>", "?:", found) if used else found)
        elif re.fullmatch(r"%E[*\d]S", part):
            parts.append(r"\s*(?P<S>\d{1,2}(?:\.\d+)?)")
        else:
            raise ValueError(f"Format element {part} is not supported by the local BigQuery")
    return re.compile(r"\s*" + "".join(parts) + r"\s*")


@lru_cache(4096)
def _fields(pattern: str, text: str) -> dict[str, str]:
    match = _matcher(pattern).fullmatch(text)
    if match is None:
        raise ValueError(f'Failed to parse input string "{text}"')
    return {name: value for name, value in match.groupdict().items() if value is not None}


def _parse(pattern: str, text: str) -> datetime:
    """Return the time in a text, without its zone."""
    found = _fields(pattern, text)
    if "s" in found:
        return _EPOCH + timedelta(seconds=int(found["s"]))
    year = int(found.get("Y", 1970))
    if "y" in found and "Y" not in found:
        year = int(found["y"]) + (1900 if int(found["y"]) >= 69 else 2000)  # noqa: PLR2004  POSIX
    month = int(found.get("m", 1))
    if "b" in found:
        names = [name for name in _MONTHS if name.lower()[:3] == found["b"].lower()[:3]]
        if not names or found["b"].lower() not in (names[0].lower(), names[0].lower()[:3]):
            raise ValueError(f'Failed to parse input string "{text}"')
        month = _MONTHS.index(names[0]) + 1
    hour = int(found.get("H", 0))
    if "I" in found:
        if not 1 <= int(found["I"]) <= 12:  # noqa: PLR2004  hours of a clock
            raise ValueError(f'Failed to parse input string "{text}"')
        hour = int(found["I"]) % 12 + (12 if found.get("p", "am").lower() == "pm" else 0)
    seconds, _, fraction = found.get("S", "0").partition(".")
    fraction = found.get("f", fraction)
    try:
        parsed = datetime(  # noqa: DTZ001  the zone follows
            year, month, int(found.get("d", 1)), hour, int(found.get("M", 0)), min(int(seconds), 59),
            int(f"{fraction:0<6}"[:6]),
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f'Failed to parse input string "{text}"') from error
    if int(seconds) > 60:  # noqa: PLR2004  a leap second
        raise ValueError(f'Failed to parse input string "{text}"')
    if "j" in found:
        parsed = parsed.replace(month=1, day=1) + timedelta(days=int(found["j"]) - 1)
    return parsed + timedelta(seconds=int(seconds) == 60)  # noqa: PLR2004  a leap second


def _parse_zone(pattern: str, text: str) -> int | None:
    """Return the offset in a text in minutes; None if it has none."""
    found = _fields(pattern, text)
    if "s" in found:
        return 0
    if "z" in found:
        return _minutes(found["z"])
    if "Z" in found:
        local = _parse(pattern, text)
        return int(_zone(found["Z"]).utcoffset(local).total_seconds() // 60)  # type: ignore[union-attr]
    return None


def _minutes(offset: str) -> int:
    if offset.upper() == "Z":
        return 0
    hours, minutes = re.fullmatch(r"[+-](\d{1,2}):?(\d{2})?", offset).groups()  # type: ignore[union-attr]
    return (-1 if offset[0] == "-" else 1) * (60 * int(hours) + int(minutes or 0))


def _zone(name: str) -> timezone | ZoneInfo:
    if re.fullmatch(r"[+-]\d{1,2}(:\d{2})?", name):
        return timezone(timedelta(minutes=_minutes(name)))
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"Invalid time zone: {name}") from error


_TIMESTAMP = re.compile(
    r"\s*(\d{4})-(\d{1,2})-(\d{1,2})(?:[ Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{0,6}))?)?"
    r"\s*([Zz]|[+-]\d{1,2}(?::?\d{2})?|[A-Za-z][\w/+\-]*)?\s*"
)


def timestamp_of_text(text: str, zone: str) -> datetime:
    """Return the time in a text such as `2026-11-23 01:02:03.5 Europe/Paris`.

    Args:
        text: the text.
        zone: the time zone if the text has none.

    Raises:
        ValueError: the text is no time, or the zone is unknown.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"Invalid timestamp: '{text}'")
    *numbers, fraction, own_zone = match.groups()
    year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
    try:
        local = datetime(year, month, day, hour, minute, second, int(f"{fraction or '':0<6}"))  # noqa: DTZ001
    except ValueError as error:
        raise ValueError(f"Invalid timestamp: '{text}'") from error
    return local.replace(tzinfo=_zone(own_zone or zone)).astimezone(UTC)
