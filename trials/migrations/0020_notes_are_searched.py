"""Trials are found by the words of their notes too, and fronts are kept against what a proposal cost."""

from django.db import migrations

NOTES = """
UPDATE trials_trialwords SET words = to_tsvector('english', trial.hypothesis) || to_tsvector('english', note.text)
  FROM trials_trial AS trial JOIN trials_note AS note ON note.trial_id = trial.id
 WHERE trial.id = trials_trialwords.trial_id
   AND note.version = (SELECT max(version) FROM trials_note WHERE trial_id = trial.id)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0019_remeasures"),
    ]

    operations = [migrations.RunSQL(NOTES, migrations.RunSQL.noop)]
