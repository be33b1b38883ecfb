"""The files of a pipeline for a table that has one row per entity: features, and a label to learn."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery

_NUMBERS = {"INTEGER", "INT64", "FLOAT", "FLOAT64", "NUMERIC", "BIGNUMERIC"}
_BOOLEANS = {"BOOLEAN", "BOOL"}
_FEATURES = {"STRING", *_NUMBERS, *_BOOLEANS}
_WHOLE = {"INTEGER", "INT64"}
_BINARY = 2  # classes
_MOST_CLASSES = 50
_MOST_NUMBERED_CLASSES = 10
"""A label of whole numbers with more values is a quantity, not a class."""
_LARGEST_SHARE = 0.5
"""A text with more different values, as a share of the rows, is a name and not a feature."""


class TableError(Exception):
    """A table or column that no pipeline can be made of. The message says the way out."""


@dataclass(frozen=True, slots=True)
class _Data:
    """The table: its columns by kind of use, and the classes of the label.

    Attributes:
        features: the columns to learn from.
        left_out: the other columns, each with the reason.
        classes: the values of the label, as SQL, the rarest first; empty if the label is a quantity.
    """

    features: Sequence[str]
    left_out: Mapping[str, str]
    classes: Sequence[str]


def files_from_table(
    client: bigquery.Client, name: str, table: str, id_column: str, label: str, explain: int = 0
) -> dict[str, str]:
    """The content of each file of a pipeline, by file name.

    Args:
        client: reads the table's schema, and counts values.
        name: the model's name.
        table: DATASET.TABLE or PROJECT.DATASET.TABLE, with one row per entity.
        id_column: the column of entity ids.
        label: the column to predict. Rows without a label are predicted, but not learned from.
        explain: the number of features in each prediction that say why; 0: none.

    Raises:
        TableError: the table or a column cannot be used.
    """
    if not re.fullmatch(r"([\w-]+\.)?\w+\.\w+", table):
        raise TableError(f"TABLE={table!r}: give it as DATASET.TABLE, such as shop.customers")
    try:
        data = _look(client, table, id_column, label)
    except GoogleAPICallError as error:
        raise TableError(f"{table} cannot be read: {error.message}") from error
    entity_type = re.sub(r"_?id$", "", id_column.lower()) or table.rpartition(".")[2].lower()
    where = _with_project(table, "{{ project }}")
    prefix = "predicted_" + label
    values = {
        "name": name,
        "entity_type": entity_type if re.fullmatch(r"[a-z][a-z0-9_]{0,49}", entity_type) else "entity",
        "description": json.dumps(f"{label} by {id_column} of {table}."),
        "table": f"`{where}`",
        "id": f"`{id_column}`",
        "label": f"`{label}`",
        "label_text": label,
        "features": "".join(f"  `{feature}`,\n" for feature in data.features),
        "left_out": "".join(f"\n   {column}: {reason}." for column, reason in data.left_out.items()),
        **_task(data.classes, prefix),
        "function": "ML.EXPLAIN_PREDICT" if explain else "ML.PREDICT",
        "settings": f", STRUCT({explain} AS top_k_features)" if explain else "",
    }
    if explain:
        values["fields"] = _explained(data.classes, prefix)
    return {file: Template(text).substitute(values) for file, text in _FILES.items()}


def _task(classes: Sequence[str], prefix: str) -> dict[str, str]:
    """The parts of the files that depend on the kind of label."""
    if not classes:
        return {
            "model_type": "LINEAR_REG",
            "metrics": "    r2_score:\n      minimum: 0\n      max_drop: 0.05 # below the champion's\n",
            "fields": f"    `{prefix}` AS value\n",
        }
    if len(classes) == _BINARY:
        probability = f"(SELECT p.prob FROM UNNEST(`{prefix}_probs`) AS p WHERE p.label = {classes[0]})"
        return {
            "model_type": "LOGISTIC_REG",
            "metrics": "    roc_auc:\n      minimum: 0.5\n      max_drop: 0.02 # below the champion's\n",
            "fields": f"    ROUND({probability}, 4) AS probability # of {classes[0]}\n",
        }
    return {
        "model_type": "LOGISTIC_REG",
        "metrics": "    accuracy:\n      max_drop: 0.02 # below the champion's\n",
        "fields": f"    `{prefix}` AS predicted,\n"
        f"    ROUND((SELECT MAX(p.prob) FROM UNNEST(`{prefix}_probs`) AS p), 4) AS probability\n",
    }


def _explained(classes: Sequence[str], prefix: str) -> str:
    """The fields of a prediction with the features that add most to it, from the columns of ML.EXPLAIN_PREDICT.

    Those explain the predicted class. With two classes, they are turned around where that is the other one.

    Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-explain-predict#output
    """
    sign, unit = "", "the log-odds of the predicted value"
    if not classes:
        fields, unit = f"    `{prefix}` AS value,\n", "the value"
    elif len(classes) == _BINARY:
        is_looked_for, unit = f"`{prefix}` = {classes[0]}", f"the log-odds of {classes[0]}"
        fields = f"    ROUND(IF({is_looked_for}, probability, 1 - probability), 4) AS probability, # of {classes[0]}\n"
        sign = f"IF({is_looked_for}, 1, -1) * "
    else:
        fields = f"    `{prefix}` AS predicted,\n    ROUND(probability, 4) AS probability,\n"
    return (
        f"{fields}    ARRAY(\n"
        f"      SELECT AS STRUCT a.feature AS feature, {sign}ROUND(a.attribution, 4) AS adds # to {unit}\n"
        "      FROM UNNEST(top_feature_attributions) AS a\n"
        "      ORDER BY ABS(a.attribution) DESC, a.feature\n"
        "    ) AS because\n"
    )


def _look(client: bigquery.Client, table: str, id_column: str, label: str) -> _Data:
    """Read the schema, and count rows and values.

    Raises:
        TableError: a column is missing or cannot be used.
    """
    full_name = _with_project(table, client.project)
    types = {f.name: "ARRAY" if f.mode == "REPEATED" else f.field_type for f in client.get_table(full_name).schema}
    for variable, column in (("ID", id_column), ("LABEL", label)):
        if column not in types:
            raise TableError(f"{variable}={column!r}: {table} has no such column; it has {', '.join(types)}")
    if types[label] not in _FEATURES:
        raise TableError(f"LABEL={label!r} is {types[label]}; a label is a number, a text or a BOOL")
    candidates = [c for c, kind in types.items() if c not in {id_column, label} and kind in _FEATURES]
    counted = [label, *(c for c in candidates if types[c] == "STRING")]
    counts = ", ".join(f"APPROX_COUNT_DISTINCT(`{column}`)" for column in counted)
    sql = f"SELECT COUNT(*), COUNT(DISTINCT `{id_column}`), COUNTIF(`{id_column}` IS NULL), {counts} FROM `{full_name}`"
    rows, ids, null_ids, *distinct = next(iter(client.query_and_wait(sql))).values()
    if ids + null_ids < rows or null_ids:
        raise TableError(
            f"ID={id_column!r}: {table} has {rows:,} rows, {ids:,} different ids and {null_ids:,} without one; make a "
            "table or view with one row per entity first"
        )
    values = dict(zip(counted, distinct, strict=True))
    left_out = {c: f"{kind}, no feature as it is" for c, kind in types.items() if kind not in _FEATURES}
    left_out |= {
        c: f"{values[c]:,} different texts in {rows:,} rows, a name and not a feature"
        for c in counted[1:]
        if values[c] > _LARGEST_SHARE * rows
    }
    features = [c for c in candidates if c not in left_out]
    if not features:
        raise TableError(f"{table} has no column to learn from beside {id_column} and {label}")
    left_out.pop(id_column, None)
    return _Data(features, left_out, _classes(client, full_name, label, types[label], values[label]))


def _classes(client: bigquery.Client, table: str, label: str, kind: str, distinct: int) -> list[str]:
    """The values of a label, as SQL, the rarest first; none if the label is a quantity.

    Raises:
        TableError: there are too few or too many values.
    """
    if kind in _NUMBERS - _WHOLE or (kind in _WHOLE and distinct > _MOST_NUMBERED_CLASSES):
        return []
    sql = f"SELECT `{label}` FROM `{table}` WHERE `{label}` IS NOT NULL GROUP BY 1 ORDER BY COUNT(*), 1"
    values = [row[0] for row in client.query_and_wait(sql)]
    if not 1 < len(values) <= _MOST_CLASSES:
        raise TableError(f"LABEL={label!r} has {len(values)} different values; it needs 2 to {_MOST_CLASSES}")
    if kind != "STRING" and len(values) == 2:  # noqa: PLR2004  1 and TRUE are what is looked for, however frequent
        values.sort(reverse=True)
    return [_literal(value) for value in values]


def _literal(value: Any) -> str:
    """A value as SQL: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#literals."""
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
    return str(value).upper()


_FILES = {
    "pipeline.yaml": """\
# yaml-language-server: $$schema=../../pipeline.schema.json
model: $name
entity_type: $entity_type # the table in Bigtable: models of one entity type are read together
description: $description
# schedule: "@weekly" # cron, or a preset; without it, runs are triggered by hand

quality_gate:
  metrics: # of ML.EVALUATE, on the rows of evaluate.sql
$metrics  on_breach: keep_champion

prediction_gate:
  max_row_change: 0.2 # largest change in the number of predictions, as a share of the active version's

smoke_test:
  objective_p99_ms: 100
""",
    "rows.sql": """\
{# One row per entity: the features, and the label. A fifth of the entities, chosen by a hash of the id, is held out.
   Left out:$left_out #}
{% macro rows(comparison) %}
SELECT
$features  $label
FROM $table
WHERE $label IS NOT NULL
  AND MOD(ABS(FARM_FINGERPRINT(CAST($id AS STRING))), 5) {{ comparison }} 0
{% endmacro %}
""",
    "train.sql": """\
{# One CREATE OR REPLACE MODEL, of any type. #}
{% from "rows.sql" import rows with context %}
CREATE OR REPLACE MODEL {{ model }}
OPTIONS (
  model_type = '$model_type',
  input_label_cols = ['$label_text'],
  data_split_method = 'NO_SPLIT'
) AS
{{ rows("!=") }}
""",
    "evaluate.sql": """\
{# One query: held-out rows with the label. ML.EVALUATE evaluates the BigQuery models on them. #}
{% from "rows.sql" import rows with context %}
{{ rows("=") }}
""",
    "predict.sql": """\
{# One query with two columns: the id to look up, and the prediction, which is served as JSON. #}
SELECT
  $id AS entity_id,
  STRUCT(
$fields  ) AS prediction
FROM $function(MODEL {{ model }}, (
SELECT
$features  $id
FROM $table)$settings)
""",
}


def _with_project(table: str, project: str) -> str:
    """The name of a table with its project: that in the name, DATASET.TABLE or PROJECT.DATASET.TABLE, or `project`."""
    dataset, _, _ = table.rpartition(".")
    return table if "." in dataset else f"{project}.{table}"
