"""Where trials are found by the words of their hypotheses and notes: PostgreSQL's full-text search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import connections, models

from trials.statements import change

CONFIGURATION = "english"

_FILL = """
INSERT INTO trials_trialwords (trial_id, words)
SELECT id, to_tsvector('english', hypothesis) FROM trials_trial WHERE id = ANY(%s)
"""


_NOTE = """
UPDATE trials_trialwords SET words = to_tsvector('english', trial.hypothesis) || to_tsvector('english', %s)
  FROM trials_trial AS trial WHERE trial.id = trials_trialwords.trial_id AND trial.id = %s
"""


class TrialWordsQuerySet(models.QuerySet["TrialWords"]):
    def fill(self, trials: Iterable[int]) -> None:
        """Words of these trials (primary keys), as the database splits them."""
        change(_FILL, [list(trials)])

    def note(self, trial: int, text: str) -> None:
        """The words of a trial's note stand beside those of its hypothesis, in place of those of an earlier version."""
        with connections[self.db].cursor() as cursor:
            cursor.execute(_NOTE, [text, trial])


class TrialWords(models.Model):
    """Lexemes of a hypothesis and of the note that people have written. A search index, not the record."""

    trial = models.OneToOneField("trials.Trial", models.PROTECT, primary_key=True, related_name="words")
    words = SearchVectorField()

    objects = TrialWordsQuerySet.as_manager()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [GinIndex(fields=["words"], name="trial_words")]

    def __str__(self) -> str:
        return f"words of {self.trial_id}"
