"""Where trials are found by the words of their hypotheses and notes: PostgreSQL's full-text search."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models


class TrialWords(models.Model):
    """Lexemes of a hypothesis and of the note that people have written. A search index, not the record.

    A trigger adds one that names the campaign (``campaign 7``), so that the index leads to its trials alone.
    """

    trial = models.OneToOneField("trials.Trial", models.PROTECT, primary_key=True, related_name="words")
    words = SearchVectorField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [GinIndex(fields=["words"], name="trial_words")]

    def __str__(self) -> str:
        return f"words of {self.trial_id}"
