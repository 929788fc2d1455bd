"""What counts may follow later than what was recorded: standings, confirmations, the campaign's noise."""

import django.db.models.deletion
from django.db import migrations, models

STANDING = """
DROP TRIGGER trials_trial_finished ON trials_trial;
UPDATE trials_trial SET standing = label;
CREATE FUNCTION trials_refuse_outcome_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.label = 'provisional' AND OLD.standing = 'provisional' AND NEW.standing IN ('keep', 'discard')
        AND to_jsonb(NEW) - 'standing' = to_jsonb(OLD) - 'standing' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% on % is refused: the ledger is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER trials_trial_finished BEFORE UPDATE ON trials_trial
    FOR EACH ROW WHEN (OLD.state = 'finished') EXECUTE FUNCTION trials_refuse_outcome_change();
CREATE TRIGGER trials_confirmation_closed BEFORE UPDATE ON trials_confirmation
    FOR EACH ROW WHEN (OLD.ruling <> '') EXECUTE FUNCTION trials_refuse_change();
CREATE TRIGGER trials_confirmation_no_delete BEFORE DELETE ON trials_confirmation
    FOR EACH ROW EXECUTE FUNCTION trials_refuse_change();
ALTER TABLE trials_trial ENABLE ALWAYS TRIGGER trials_trial_finished;
ALTER TABLE trials_confirmation ENABLE ALWAYS TRIGGER trials_confirmation_closed;
ALTER TABLE trials_confirmation ENABLE ALWAYS TRIGGER trials_confirmation_no_delete;
"""
STANDING_BACK = """
DROP TRIGGER trials_confirmation_no_delete ON trials_confirmation;
DROP TRIGGER trials_confirmation_closed ON trials_confirmation;
DROP TRIGGER trials_trial_finished ON trials_trial;
DROP FUNCTION trials_refuse_outcome_change();
CREATE TRIGGER trials_trial_finished BEFORE UPDATE ON trials_trial
    FOR EACH ROW WHEN (OLD.state = 'finished') EXECUTE FUNCTION trials_refuse_change();
ALTER TABLE trials_trial ENABLE ALWAYS TRIGGER trials_trial_finished;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0010_reports"),
    ]

    operations = [
        migrations.CreateModel(
            name="Confirmation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("round", models.PositiveSmallIntegerField(default=1)),
                ("part", models.FloatField()),
                ("pairs", models.PositiveSmallIntegerField(default=0)),
                ("voids", models.PositiveSmallIntegerField(default=0)),
                ("gain", models.FloatField(blank=True, null=True)),
                ("z", models.FloatField(blank=True, null=True)),
                ("bound", models.FloatField(blank=True, null=True)),
                (
                    "ruling",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("confirmed", "confirmed"),
                            ("refuted", "refuted"),
                            ("superseded", "superseded"),
                            ("abandoned", "abandoned"),
                        ],
                        max_length=12,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=300)),
                ("numbers", models.JSONField(default=dict)),
                ("opened_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AlterModelOptions(
            name="frontierstep",
            options={"ordering": ["campaign", "id"]},
        ),
        migrations.RemoveIndex(
            model_name="frontierstep",
            name="frontier_by_number",
        ),
        migrations.RemoveIndex(
            model_name="frontierstep",
            name="frontier_by_score",
        ),
        migrations.RemoveIndex(
            model_name="trial",
            name="trial_by_label",
        ),
        migrations.RemoveIndex(
            model_name="trial",
            name="trial_held",
        ),
        migrations.AddField(
            model_name="campaign",
            name="noise_df",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="campaign",
            name="noise_sd",
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="campaign",
            name="repeat_count",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="campaign",
            name="repeat_seconds",
            field=models.FloatField(default=0.0),
        ),
        migrations.AddField(
            model_name="evaluation",
            name="outcome",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="trial",
            name="standing",
            field=models.CharField(
                blank=True,
                choices=[
                    ("baseline", "baseline"),
                    ("keep", "keep"),
                    ("provisional", "provisional"),
                    ("discard", "discard"),
                    ("preflight_crash", "preflight crash"),
                    ("crash", "crash"),
                    ("size_blocked", "size blocked"),
                    ("train_budget_overrun", "train budget overrun"),
                    ("eval_budget_overrun", "eval budget overrun"),
                    ("disqualified", "disqualified"),
                    ("invalid_result", "invalid result"),
                    ("rule_violation", "rule violation"),
                    ("harness_abort", "harness abort"),
                ],
                max_length=24,
            ),
        ),
        migrations.AlterField(
            model_name="campaign",
            name="keep_rule",
            field=models.CharField(choices=[("verified", "verified"), ("strict", "strict")], max_length=10),
        ),
        migrations.AlterField(
            model_name="evaluation",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("trial", "trial"),
                    ("calibration", "calibration"),
                    ("confirmation", "confirmation"),
                    ("sealed", "sealed"),
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
        migrations.AlterField(
            model_name="measurement",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("trial", "trial"),
                    ("calibration", "calibration"),
                    ("confirmation", "confirmation"),
                    ("sealed", "sealed"),
                ],
                max_length=12,
            ),
        ),
        migrations.AddIndex(
            model_name="frontierstep",
            index=models.Index(fields=["campaign", "id"], name="frontier_in_order"),
        ),
        migrations.AddIndex(
            model_name="trial",
            index=models.Index(fields=["campaign", "standing", "-number"], name="trial_by_standing"),
        ),
        migrations.AddIndex(
            model_name="trial",
            index=models.Index(
                condition=models.Q(("standing__in", ["baseline", "keep", "provisional"])),
                fields=["campaign", "role", "-number"],
                name="trial_held",
            ),
        ),
        migrations.RunSQL(STANDING, STANDING_BACK),
        migrations.AddConstraint(
            model_name="trial",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("standing", models.F("label")),
                    models.Q(("label", "provisional"), ("standing__in", ["provisional", "keep", "discard"])),
                    _connector="OR",
                ),
                name="trial_standing_follows_label",
            ),
        ),
        migrations.AddField(
            model_name="confirmation",
            name="campaign",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="confirmations", to="trials.campaign"
            ),
        ),
        migrations.AddField(
            model_name="confirmation",
            name="incumbent",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="defences", to="trials.trial"
            ),
        ),
        migrations.AddField(
            model_name="confirmation",
            name="trial",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="confirmations", to="trials.trial"
            ),
        ),
        migrations.AddField(
            model_name="evaluation",
            name="confirmation",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="evaluations",
                to="trials.confirmation",
            ),
        ),
        migrations.AddIndex(
            model_name="confirmation",
            index=models.Index(condition=models.Q(("ruling", "")), fields=["campaign"], name="confirmation_open"),
        ),
        migrations.AddIndex(
            model_name="confirmation",
            index=models.Index(fields=["incumbent", "-id"], name="confirmation_by_incumbent"),
        ),
        migrations.AddConstraint(
            model_name="confirmation",
            constraint=models.UniqueConstraint(fields=("trial", "round"), name="confirmation_round_unique"),
        ),
        migrations.AddConstraint(
            model_name="confirmation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ruling", "")), fields=("trial",), name="confirmation_open_once"
            ),
        ),
    ]
