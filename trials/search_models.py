"""Where trials are found by the words of their hypotheses and notes, as PostgreSQL's full-text search splits them."""

from __future__ import annotations

from django.contrib.postgres.search import SearchVectorField
from django.db import models

WORD_LENGTH = 64


class TrialWords(models.Model):
    """Lexemes of a hypothesis and of the note that people have written. A search index, not the record."""

    trial = models.OneToOneField("trials.Trial", models.PROTECT, primary_key=True, related_name="words")
    words = SearchVectorField()

    def __str__(self) -> str:
        return f"words of {self.trial_id}"


class WordPlace(models.Model):
    """A trial that has a lexeme (its first WORD_LENGTH characters), in the order of numbers.

    Triggers keep them beside ``TrialWords``, whoever writes those. None is missing; one too many does no harm, since
    what it leads to is looked at.
    """

    pk = models.CompositePrimaryKey("campaign_id", "word", "number")
    campaign = models.ForeignKey(
        "trials.Campaign", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    word = models.CharField(max_length=WORD_LENGTH, db_collation="C")
    number = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.word} {self.number}"
