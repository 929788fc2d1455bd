"""Human checkpoints: where a person is asked, the questions, the answers. What is answered never changes."""

import django.db.models.deletion
from django.db import migrations, models

APPEND_ONLY = """
CREATE TRIGGER trials_approval_answered BEFORE UPDATE ON trials_approval
    FOR EACH ROW WHEN (OLD.answer <> '') EXECUTE FUNCTION trials_refuse_change();
CREATE TRIGGER trials_approval_no_delete BEFORE DELETE ON trials_approval
    FOR EACH ROW EXECUTE FUNCTION trials_refuse_change();
CREATE TRIGGER trials_approval_no_truncate BEFORE TRUNCATE ON trials_approval
    FOR EACH STATEMENT EXECUTE FUNCTION trials_refuse_change();
ALTER TABLE trials_approval ENABLE ALWAYS TRIGGER trials_approval_answered;
ALTER TABLE trials_approval ENABLE ALWAYS TRIGGER trials_approval_no_delete;
ALTER TABLE trials_approval ENABLE ALWAYS TRIGGER trials_approval_no_truncate;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0017_tallies"),
    ]

    operations = [
        migrations.AddField(
            model_name="campaign",
            name="checkpoints",
            field=models.JSONField(default=dict),
        ),
        migrations.AlterField(
            model_name="confirmation",
            name="ruling",
            field=models.CharField(
                blank=True,
                choices=[
                    ("confirmed", "confirmed"),
                    ("refuted", "refuted"),
                    ("superseded", "superseded"),
                    ("refused", "refused"),
                    ("abandoned", "abandoned"),
                ],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="event",
            name="kind",
            field=models.CharField(
                choices=[
                    ("campaign_launched", "campaign launched"),
                    ("campaign_state", "campaign state"),
                    ("session_started", "session started"),
                    ("session_ended", "session ended"),
                    ("trial_submitted", "trial submitted"),
                    ("boundary_crossed", "boundary crossed"),
                    ("approval_asked", "approval asked"),
                    ("approval_answered", "approval answered"),
                    ("trial_started", "trial started"),
                    ("trial_retried", "trial retried"),
                    ("trial_finished", "trial finished"),
                    ("calibration_measured", "calibration measured"),
                    ("campaign_calibrated", "campaign calibrated"),
                    ("confirmation_opened", "confirmation opened"),
                    ("confirmation_measured", "confirmation measured"),
                    ("confirmation_looked", "confirmation looked"),
                    ("confirmation_closed", "confirmation closed"),
                    ("sealed_measured", "sealed measured"),
                    ("trace_imported", "trace imported"),
                    ("trial_imported", "trial imported"),
                    ("restore_accepted", "restore accepted"),
                ],
                max_length=24,
            ),
        ),
        migrations.CreateModel(
            name="Approval",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                (
                    "subject",
                    models.CharField(
                        choices=[("keep", "keep"), ("trials", "trials"), ("hours", "hours"), ("usd", "usd")],
                        max_length=8,
                    ),
                ),
                ("score", models.FloatField(blank=True, null=True)),
                ("used", models.FloatField(blank=True, null=True)),
                ("asked_at", models.DateTimeField()),
                (
                    "answer",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("approved", "approved"),
                            ("refused", "refused"),
                            ("overtaken", "overtaken"),
                            ("abandoned", "abandoned"),
                        ],
                        max_length=10,
                    ),
                ),
                ("remark", models.CharField(blank=True, max_length=300)),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                ("answered_seq", models.BigIntegerField(blank=True, null=True)),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="approvals",
                        to="trials.campaign",
                    ),
                ),
                (
                    "trial",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="approvals",
                        to="trials.trial",
                    ),
                ),
            ],
            options={
                "ordering": ["campaign", "number"],
                "indexes": [
                    models.Index(condition=models.Q(("answer", "")), fields=["campaign"], name="approval_open")
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("campaign", "number"), name="approval_number_unique"),
                    models.UniqueConstraint(
                        condition=models.Q(("answer", "")), fields=("trial",), name="approval_open_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("answer", ""), ("answered_at", None), ("answered_seq", None)),
                            models.Q(
                                models.Q(("answer", ""), _negated=True),
                                ("answered_at__isnull", False),
                                ("answered_seq__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="approval_answered_by_event",
                    ),
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, migrations.RunSQL.noop),  # with the table they go
    ]
