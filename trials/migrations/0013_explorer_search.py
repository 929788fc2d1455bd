"""Trials are found by the words of their hypotheses, and in every order that the table of trials offers."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
from django.db import migrations, models

WORDS = """
INSERT INTO trials_trialwords (trial_id, words) SELECT id, to_tsvector('english', hypothesis) FROM trials_trial
"""


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0012_roster_events"),
    ]

    operations = [
        migrations.CreateModel(
            name="TrialWords",
            fields=[
                (
                    "trial",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="words",
                        serialize=False,
                        to="trials.trial",
                    ),
                ),
                ("words", django.contrib.postgres.search.SearchVectorField()),
            ],
        ),
        migrations.RunSQL(WORDS, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="trial",
            index=models.Index(fields=["campaign", "role", "standing", "-number"], name="trial_by_role_and_standing"),
        ),
        migrations.AddIndex(
            model_name="trial",
            index=models.Index(
                condition=models.Q(
                    ("label__in", ["baseline", "discard", "keep", "provisional"]), ("score__isnull", False)
                ),
                fields=["campaign", "standing", "score", "number"],
                name="trial_ranked_by_standing",
            ),
        ),
        migrations.AddIndex(
            model_name="trial",
            index=models.Index(
                condition=models.Q(
                    ("delta_vs_parent__isnull", False), ("label__in", ["baseline", "discard", "keep", "provisional"])
                ),
                fields=["campaign", "delta_vs_parent", "number"],
                name="trial_gain",
            ),
        ),
        migrations.AddIndex(
            model_name="trialwords",
            index=django.contrib.postgres.indexes.GinIndex(fields=["words"], name="trial_words"),
        ),
    ]
