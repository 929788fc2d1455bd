"""Which rows belong to a campaign's record, and how each looks as a line of JSON without keys of this database.

Tables are found by looking: whatever refers to a campaign, or to a row that does, is part of the record, unless the
model says ``part_of_record = False`` because it tells of campaigns together. Rows are named by their unique constraint
within the campaign: a trial by its number, a work order by trial, purpose, split and seed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.db import models

from trials.hypotheses import HypothesisKey
from trials.models import Blob, Campaign, Event, FrontierStep, Measurement, Trial
from trials.report_models import CampaignReport
from trials.search_models import TrialWords, WordPlace
from trials.tally_models import (
    FrontPoint,
    Miss,
    MissTally,
    ParentTally,
    ReasonTally,
    ScoreColumn,
    Tally,
    TallyScale,
)

CHUNK = 1_000
DEEPEST = 4  # steps from a row to its campaign
#: Canonical JSON, kept as text so that its hash stays what it is.
JSON_TEXT = {(Event, "body"), (Measurement, "body")}
#: Columns that the bundle does not need: what an import finds again.
DERIVED = {(Measurement, "evaluation"), (Event, "redaction"), (Event, "salt")}
#: Search indexes, which an import builds anew, and what can be computed again.
INDEXES: frozenset[type[models.Model]] = frozenset(
    {
        HypothesisKey, TrialWords, CampaignReport, FrontPoint, Miss, MissTally, ParentTally, ReasonTally, ScoreColumn,
        Tally, TallyScale, WordPlace,
    }
)  # fmt: skip
MEMBERS: dict[type[models.Model], str] = {FrontierStep: "frontier"}
Model = type[models.Model]


@dataclass(frozen=True)
class Column:
    """One value of a row. paths: lookups that fetch it, several for a row that is named by several values."""

    name: str
    field: models.Field[Any, Any]
    paths: tuple[str, ...]
    target: Model | None = None
    is_text: bool = False

    @property
    def is_blob(self) -> bool:
        return self.target is Blob

    @property
    def blank(self) -> Any:
        """What stands where the value is withheld."""
        if self.field.null:
            return None
        if isinstance(self.field, models.JSONField):
            return self.field.get_default()
        return ""


@dataclass(frozen=True)
class Table:
    """The rows of one model that belong to a campaign."""

    model: Model
    member: str
    campaign: str
    columns: tuple[Column, ...]

    @property
    def blobs(self) -> list[str]:
        """Columns that hold the hash of a blob."""
        return [column.name for column in self.columns if column.is_blob]

    @property
    def trees(self) -> list[str]:
        """Those whose blob lists the files of a source tree."""
        return ["source"] if self.model is Trial else []

    def rows(self, campaign: Campaign, order: str = "pk", **chosen: Any) -> Iterator[dict[str, Any]]:
        """Rows as JSON values, streamed."""
        found = self.model._default_manager.filter(**{self.campaign: campaign}, **chosen).order_by(order)
        yield from self.read(found)

    def read(self, found: models.QuerySet[Any, Any]) -> Iterator[dict[str, Any]]:
        """The rows of a queryset of this table's model, streamed."""
        paths = [path for column in self.columns for path in column.paths]
        places, at = [], 0
        for column in self.columns:
            places.append((column.name, at, at + len(column.paths), column.is_text))
            at += len(column.paths)
        for values in found.values_list(*paths).iterator(CHUNK):
            yield {
                name: _plain(values[begin], is_text) if end == begin + 1 else _named(values[begin:end])
                for name, begin, end, is_text in places
            }


def _named(values: tuple[Any, ...]) -> list[Any] | None:
    return None if values[0] is None else list(values)


def _plain(value: Any, is_text: bool) -> Any:
    if is_text:
        return json.loads(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


@functools.cache
def tables() -> tuple[Table, ...]:
    """All tables of the record but events, which have a form of their own; those that others refer to come first."""
    ways: dict[Model, str] = {Campaign: ""}
    for _ in range(DEEPEST):
        reached = dict(ways)
        for model in apps.get_models():
            towards = [field for field in model._meta.concrete_fields if isinstance(field, models.ForeignKey)]
            near = [field for field in towards if field.remote_field.model in reached and not field.null]
            if near and model not in ways:
                field = min(near, key=lambda one: reached[one.remote_field.model].count("__"))
                ways[model] = f"{field.name}__{reached[field.remote_field.model]}".removesuffix("__")
    chosen = [model for model in ways if getattr(model, "part_of_record", True)]
    found = [_table(model, ways[model]) for model in chosen if model not in {Campaign, Event, *INDEXES}]
    return tuple(_in_order(found))


def _table(model: Model, way: str) -> Table:
    member = MEMBERS.get(model) or f"{model._meta.model_name}s"
    columns = [
        _column(model, field)
        for field in model._meta.concrete_fields
        if not field.primary_key and field.name != way and (model, field.name) not in DERIVED
    ]
    return Table(model, f"{member}.jsonl", way, tuple(columns))


def _column(model: Model, field: models.Field[Any, Any]) -> Column:
    if not isinstance(field, models.ForeignKey):
        return Column(field.name, field, (field.name,), is_text=(model, field.name) in JSON_TEXT)
    target: Model = field.remote_field.model
    if target is Blob:
        return Column(field.name, field, (field.attname,), Blob)
    return Column(field.name, field, tuple(f"{field.name}__{path}" for path in key_of(target)), target)


@functools.cache
def key_of(model: Model) -> tuple[str, ...]:
    """Lookups that name a row within its campaign. Raises TypeError for a model without such a constraint."""
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint) and constraint.condition is None:
            names: list[str] = []
            for name in constraint.fields:
                field = model._meta.get_field(name)
                if not isinstance(field, models.ForeignKey):
                    names.append(name)
                elif field.remote_field.model is not Campaign:
                    names += [f"{name}__{path}" for path in key_of(field.remote_field.model)]
            return tuple(names)
    raise TypeError(f"{model.__name__} has no unique constraint that names its rows within a campaign")


def _in_order(found: list[Table]) -> Iterator[Table]:
    placed: set[Model] = {Blob}
    waiting = sorted(found, key=lambda table: (table.model is not Trial, table.member))
    while waiting:
        ready = next(
            (
                table
                for table in waiting
                if {column.target for column in table.columns if column.target} <= placed | {table.model}
            ),
            None,
        )
        if ready is None:
            raise TypeError(f"{waiting[0].model.__name__} refers to rows that are no part of a campaign's record")
        placed.add(ready.model)
        waiting.remove(ready)
        yield ready


def table_of(model: Model) -> Table:
    """The table of a model. Raises LookupError."""
    for table in tables():
        if table.model is model:
            return table
    raise LookupError(f"{model.__name__} is no part of the record")


CAMPAIGN_OMITS = frozenset({"id", "slug", "created_by", "best_trial", "bundle"})


def campaign_row(campaign: Campaign) -> dict[str, Any]:
    """The campaign's own row: plan, counters, head; users by name, the best trial by number."""
    row: dict[str, Any] = {}
    for field in campaign._meta.concrete_fields:
        if field.name not in CAMPAIGN_OMITS:
            value = getattr(campaign, field.attname)
            row[field.name] = value.isoformat() if isinstance(value, datetime) else value
    origin: Mapping[str, Any] = campaign.bundle or {}
    named = None if campaign.created_by is None else campaign.created_by.get_username()
    row["slug"] = origin.get("slug", campaign.slug)
    row["created_by"] = origin.get("created_by", named)
    row["best_trial"] = None if campaign.best_trial is None else campaign.best_trial.number
    return row
