"""Validation and join once more, row by row in plain Python: slow and easy to check by eye."""

import math
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment):
    return (moment - EPOCH) // timedelta(microseconds=1)


def slow_validate(rows, schema, columns, config, now):
    """Return ([(row number, row)], [(row number, reason)]) for the rows of one source."""
    accepted, rejected = [], []
    newest, seen = {}, {}
    for number, row in enumerate(rows, start=1):
        reason = _content_fault(row, schema, columns, config) or _time_fault(row, config, now)
        if reason is None:
            reason = _order_fault(row, schema, config, newest, seen)
        if reason is None:
            accepted.append((number, row))
            entity = row[schema.entity]
            newest[entity] = max(newest.get(entity, row["ts"]), row["ts"])
            seen[entity, row["ts"]] = row
        else:
            rejected.append((number, reason))
    return accepted, rejected


def _content_fault(row, schema, columns, config):
    if row["ts"] is None or not row[schema.entity]:
        return "missing_required"
    for field in schema:
        if field.name not in columns or field.name in ("ts", schema.entity):
            continue
        value = row.get(field.name)
        if field.kind == "string":
            if field.choices and value and value not in field.choices:
                return "unknown_choice"
        else:
            reason = _number_fault(value, field, config)
            if reason is not None:
                return reason
    return None


def _number_fault(value, field, config):
    if value is None or (config.nan_means_missing and math.isnan(value)):
        return "missing_required" if field.required else None
    if not math.isfinite(value):
        return "non_finite"
    if field.low <= value <= field.high:
        return "not_integer" if field.kind == "int" and value != int(value) else None
    if field.unit == "0..1" and field.high < value <= 100 * field.high:
        return "percent_not_ratio"
    return "out_of_range"


def _time_fault(row, config, now):
    if row["ts"] < config.earliest:
        return "out_of_range"
    if row["ts"] > now + timedelta(seconds=config.max_future_s):
        return "future"
    if config.max_age_s is not None and row["ts"] < now - timedelta(seconds=config.max_age_s):
        return "stale"
    return None


def _order_fault(row, schema, config, newest, seen):
    entity = row[schema.entity]
    oldest = newest.get(entity, row["ts"]) - timedelta(seconds=config.max_disorder_s)
    if row["ts"] < oldest:
        return "clock_went_back"
    earlier = seen.get((entity, row["ts"]))
    if earlier is None:
        return None
    return "duplicate" if _values(earlier) == _values(row) else "conflicting_duplicate"


def _values(row):
    return {name: value for name, value in row.items() if value is not None and value != ""}


def slow_join(sources, schema, config):
    """Join [(columns, accepted rows)] and return (grid rows, [(source, row number, reason)])."""
    step_us = round(config.step_s * 1e6)
    kept, rejected = [], []
    for source, (columns, rows) in enumerate(sources):
        newest_us = None
        for number, row in rows:
            ts_us = microseconds(row["ts"])
            end_us = math.ceil(ts_us / step_us) * step_us
            lateness_us = round(config.allowed_lateness_s * 1e6)
            if newest_us is not None and end_us + lateness_us < newest_us:
                rejected.append((source, number, "late"))
            else:
                kept.append((ts_us, source, number, end_us, frozenset(columns), row))
            newest_us = ts_us if newest_us is None else max(newest_us, ts_us)
    kept.sort(key=lambda item: item[:3])
    steps = {}
    leaders = {}
    for ts_us, source, number, end_us, columns, row in kept:
        key = (row[schema.entity], ts_us, columns)
        if key in leaders:
            equal = _values(leaders[key]) == _values(row)
            reason = "duplicate" if equal else "conflicting_duplicate"
            rejected.append((source, number, reason))
            continue
        leaders[key] = row
        steps.setdefault((end_us, row[schema.entity]), []).append((ts_us, row))
    return _grid(steps, schema, config, step_us), sorted(rejected)


def _grid(steps, schema, config, step_us):
    grid = []
    before = {}
    for (end_us, entity), samples in sorted(steps.items()):
        if entity in before:
            last_end_us, last_ts_us = before[entity]
            missing = (end_us - last_end_us) // step_us - 1
            if missing <= config.max_gap_steps:
                for index in range(missing):
                    at_us = last_end_us + (index + 1) * step_us
                    grid.append(_row(at_us, entity, [], last_ts_us, schema))
        grid.append(_row(end_us, entity, samples, samples[-1][0], schema))
        before[entity] = (end_us, samples[-1][0])
    return grid


def _row(end_us, entity, samples, newest_us, schema):
    row = {"ts": EPOCH + timedelta(microseconds=end_us), schema.entity: entity}
    for field in schema:
        if field.name in row:
            continue
        values = [sample.get(field.name) for _, sample in samples]
        values = [value for value in values if value is not None and value != ""]
        row[field.name] = _combine(values, field.aggregate)
    row["n_samples"] = len(samples)
    row["gap"] = not samples
    row["age_s"] = (end_us - newest_us) / 1e6
    return row


def _combine(values, aggregate):
    if not values:
        return None
    if aggregate == "last":
        return values[-1]
    if aggregate == "max":
        return max(values)
    total = 0.0
    for value in values:
        total += value
    return total / len(values) if aggregate == "mean" else total
