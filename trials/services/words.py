"""Words by which trials are found: as the database splits them, in the language of ``trials.search_models``."""

from __future__ import annotations

from collections.abc import Iterable

from trials.statements import change

_FILL = """
INSERT INTO trials_trialwords (trial_id, words)
SELECT id, to_tsvector('english', hypothesis) FROM trials_trial WHERE id = ANY(%s)
"""
#: Words of a new trial, as part of a statement that has it as ``trial``; the hypothesis is the only value.
OF_NEW = "INSERT INTO trials_trialwords (trial_id, words) SELECT id, to_tsvector('english', %s::text) FROM trial"
_NOTE = """
UPDATE trials_trialwords SET words = to_tsvector('english', trial.hypothesis) || to_tsvector('english', %s)
  FROM trials_trial AS trial WHERE trial.id = trials_trialwords.trial_id AND trial.id = %s
"""


def fill(trials: Iterable[int]) -> None:
    """Words of these trials (primary keys)."""
    change(_FILL, [list(trials)])


def note(trial: int, text: str) -> None:
    """The words of a trial's note stand beside those of its hypothesis, in place of those of an earlier version."""
    change(_NOTE, [text, trial])
