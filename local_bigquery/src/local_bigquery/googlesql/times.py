"""Functions of dates, times and time zones."""

import re

from sqlglot import exp

from local_bigquery.googlesql.calls import Handler, call
from local_bigquery.googlesql.kinds import Kinds

_DAYS = {"SUNDAY": 0, "MONDAY": 1, "TUESDAY": 2, "WEDNESDAY": 3, "THURSDAY": 4, "FRIDAY": 5, "SATURDAY": 6}
_PARTS = (
    *("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY"),
    *("DAYOFYEAR", "MONTH", "QUARTER", "YEAR", "ISOYEAR"),
)
# Elements of a format that DuckDB writes like GoogleSQL.
_COMMON_FORMAT = re.compile(r"(?:[^%]|%[YmdHMSyjaAbBpIuwUWVG%])*")


def _part(unit: exp.Expr | None) -> tuple[str, int]:
    """Return the name of a part of a date, and the first day of a week as days after Sunday."""
    if isinstance(unit, exp.WeekStart):
        return "WEEK", _DAYS[unit.this.name.upper()]
    name = unit.name.upper() if unit is not None else "DAY"
    inner = unit.find(exp.Var, exp.Column) if isinstance(unit, exp.Anonymous | exp.Week) else None
    if inner is not None:
        return "WEEK", _DAYS[inner.name.upper()]
    if name.startswith("WEEK("):
        return "WEEK", _DAYS[name[5:-1]]
    return ("WEEK", 1) if name == "ISOWEEK" else (name, 0)


def _date_trunc(kind: str) -> Handler:
    def handler(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
        found = kinds.of(node.this)
        target = found if found in ("DATE", "DATETIME", "TIMESTAMP") else kind
        name, first = _part(node.args.get("unit"))
        zone = node.args.get("zone") or exp.Literal.string("UTC")
        value = call("local", node.this, zone) if target == "TIMESTAMP" else node.this
        if name == "WEEK":
            day = call("week_start", value, first)
        elif name == "ISOYEAR":
            day = call("isoyear_start", value)
        elif target == "DATE":
            day = call("date_trunc", name.lower(), value)
        else:
            day = call("time_trunc", name.lower(), value)
        if target == "TIMESTAMP":
            return call("instant", day, zone)
        return call("datetime", day) if target == "DATETIME" else day

    return handler


def _diff(kind: str) -> Handler:
    def handler(node: exp.Expr, _: Kinds) -> exp.Expr:
        name, first = _part(node.args.get("unit"))
        left, right = node.this, node.expression
        if name == "WEEK":
            return call("week_diff", left, right, first)
        if name == "ISOYEAR":
            return call("isoyear_diff", left, right)
        return call({"TIMESTAMP": "span", "TIME": "time_diff"}.get(kind, "parts_between"), name.lower(), left, right)

    return handler


def _extract(node: exp.Extract, kinds: Kinds) -> exp.Expr | None:  # noqa: PLR0911  one case a part
    value = node.expression
    if kinds.of(value) == "INTERVAL":
        return None
    if isinstance(value, exp.AtTimeZone):
        value = call("local", value.this, value.args["zone"])
    name, first = _part(node.this)
    match name:
        case "WEEK" if node.this.name.upper() == "ISOWEEK":
            return call("isoweek", value)
        case "WEEK":
            return call("week", value, first)
        case "DAYOFWEEK":
            return call("dayofweek", value)
        case "DATE" | "TIME" | "DATETIME":
            return call(name.lower(), value)
        case _ if name in _PARTS:
            return call(f"part_{name.lower()}", value)
    return None


def _last_day(node: exp.LastDay, _: Kinds) -> exp.Expr:
    name, first = _part(node.args.get("unit") or exp.Var(this="MONTH"))
    if name == "WEEK":
        return call("week_end", node.this, first)
    if name == "ISOYEAR":
        return call("isoyear_end", node.this)
    return call("last_day", node.this, {"MONTH": 1, "QUARTER": 3, "YEAR": 12}[name], name.lower())


def _shifted(kind: str, sign: int) -> Handler:
    def handler(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
        amount = node.expression
        if isinstance(amount, exp.Literal) and amount.is_string:
            amount = exp.Literal.number(amount.name) if amount.name.lstrip("-").isdigit() else None
        unit = node.args.get("unit")
        if amount is None or unit is None or isinstance(amount, exp.Interval):
            return None
        found = kinds.of(node.this)
        target = found if found in ("DATE", "DATETIME", "TIMESTAMP", "TIME") else kind
        return call(
            f"add_{target.lower()}",
            node.this,
            exp.paren(amount) if sign > 0 else exp.Neg(this=exp.paren(amount)),
            unit.name.lower(),
        )

    return handler


def _date(node: exp.Date, _: Kinds) -> exp.Expr | None:
    if node.expressions or isinstance(node.this, exp.Literal) or node.this is None:
        return None
    if node.args.get("zone"):
        return call("local_date", node.this, node.args["zone"])
    return call("date", node.this)


def _timestamp(node: exp.Timestamp, kinds: Kinds) -> exp.Expr | None:
    zone = node.args.get("zone") or exp.Literal.string("UTC")
    if kinds.of(node.this) in ("STRING", None):
        return call("timestamp_from_any", node.this, zone)
    return node.this.copy() if kinds.of(node.this) == "TIMESTAMP" else call("instant", node.this, zone)


def _datetime(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    second = node.args.get("expression") or node.args.get("zone")
    if node.expressions or (isinstance(node.this, exp.Literal) and not node.this.is_string):
        return None
    if second is None:
        return call("datetime", node.this)
    if kinds.of(node.this) == "DATE" and kinds.of(second) == "TIME":
        return call("datetime_of", node.this, second)
    return call("local", node.this, second)


def _time(node: exp.Expr, _: Kinds) -> exp.Expr | None:
    zone = node.args.get("zone")
    return call("local_time", node.this, zone) if zone else call("time", node.this)


_WRAPPERS = {
    exp.TsOrDsToDate: "DATE",
    exp.TsOrDsToTimestamp: "TIMESTAMP",
    exp.TsOrDsToDatetime: "DATETIME",
    exp.TsOrDsToTime: "TIME",
}


def _wrapped(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    """Return the macro for DATETIME(x) and TIME(x), which sqlglot parses as the wrappers within FORMAT functions."""
    if isinstance(node.parent, exp.TimeToStr):
        return None
    if isinstance(node, exp.TsOrDsToDatetime):
        return _datetime(node, kinds)
    return _time(node, kinds) if isinstance(node, exp.TsOrDsToTime) else None


def _format_time(node: exp.TimeToStr, _: Kinds) -> exp.Expr | None:
    wrapper = node.this
    kind = _WRAPPERS.get(type(wrapper))
    if kind is None:
        return None
    zone = node.args.get("zone") or exp.Literal.string("UTC")
    pattern = node.args["format"]
    is_common = isinstance(pattern, exp.Literal) and _COMMON_FORMAT.fullmatch(pattern.name) is not None
    return call(f"{'strftime' if is_common else 'format'}_{kind.lower()}", pattern, wrapper.this, zone)


def _parse_time(kind: str) -> Handler:
    def handler(node: exp.Expr, _: Kinds) -> exp.Expr:
        zone = node.args.get("zone") or exp.Literal.string("UTC")
        return call(f"parse_{kind}", node.args["format"], node.this, zone)

    return handler


HANDLERS: dict[type[exp.Expr], Handler] = {
    exp.UnixMillis: lambda node, _: call("unix_millis", node.this),
    exp.DateTrunc: _date_trunc("DATE"),
    exp.DatetimeTrunc: _date_trunc("DATETIME"),
    exp.TimestampTrunc: _date_trunc("TIMESTAMP"),
    exp.DateDiff: _diff("DATE"),
    exp.DatetimeDiff: _diff("DATETIME"),
    exp.TimestampDiff: _diff("TIMESTAMP"),
    exp.Extract: _extract,
    exp.LastDay: _last_day,
    exp.DateAdd: _shifted("DATE", 1),
    exp.DateSub: _shifted("DATE", -1),
    exp.DatetimeAdd: _shifted("DATETIME", 1),
    exp.DatetimeSub: _shifted("DATETIME", -1),
    exp.TimestampAdd: _shifted("TIMESTAMP", 1),
    exp.TimestampSub: _shifted("TIMESTAMP", -1),
    exp.TimeAdd: _shifted("TIME", 1),
    exp.TimeSub: _shifted("TIME", -1),
    exp.Date: _date,
    exp.Timestamp: _timestamp,
    exp.Datetime: _datetime,
    exp.TsOrDsToDatetime: _wrapped,
    exp.TsOrDsToTime: _wrapped,
    exp.Time: lambda node, kinds: _time(node, kinds) if node.args.get("zone") else None,
    exp.TimeToStr: _format_time,
    exp.StrToDate: _parse_time("date"),
    exp.StrToTime: _parse_time("timestamp"),
    exp.ParseDatetime: _parse_time("datetime"),
    exp.ParseTime: _parse_time("time"),
    exp.TimeDiff: _diff("TIME"),
    exp.TimeTrunc: lambda node, _: call("time_of_day_trunc", node.args["unit"].name.lower(), node.this),
    exp.UnixSeconds: lambda node, _: call("unix_seconds", node.this),
}
