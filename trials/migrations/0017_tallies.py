"""Sums that pages read, kept where a trial is recorded. Those of earlier campaigns are made after the migration."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0016_people"),
    ]

    operations = [
        migrations.CreateModel(
            name="TallyScale",
            fields=[
                (
                    "campaign",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="tally_scale",
                        serialize=False,
                        to="trials.campaign",
                    ),
                ),
                ("time_power", models.PositiveSmallIntegerField(default=0)),
                ("trial_power", models.PositiveSmallIntegerField(default=0)),
                ("origin", models.FloatField(null=True)),
                ("unit", models.FloatField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="FrontPoint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("axis", models.CharField(max_length=8)),
                ("number", models.IntegerField()),
                ("x", models.FloatField()),
                ("score", models.FloatField()),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="front_points",
                        to="trials.campaign",
                    ),
                ),
                (
                    "trial",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="trials.trial"),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("campaign", "axis", "number"), name="front_point_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="Miss",
            fields=[
                (
                    "trial",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="miss",
                        serialize=False,
                        to="trials.trial",
                    ),
                ),
                (
                    "label",
                    models.CharField(
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
                ("number", models.IntegerField()),
                ("unit", models.CharField(max_length=12)),
                ("over", models.FloatField()),
                ("share", models.FloatField()),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="misses",
                        to="trials.campaign",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["campaign", "share", "number"], name="miss_nearest"),
                    models.Index(fields=["campaign", "label", "share", "number"], name="miss_nearest_by_label"),
                ],
            },
        ),
        migrations.CreateModel(
            name="MissTally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "label",
                    models.CharField(
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
                ("level", models.SmallIntegerField()),
                ("trials", models.BigIntegerField()),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="miss_tallies",
                        to="trials.campaign",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("campaign", "label", "level"), name="miss_tally_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="ParentTally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("role", models.CharField(max_length=60)),
                ("parent_role", models.CharField(max_length=60)),
                ("trials", models.BigIntegerField()),
                ("keeps", models.BigIntegerField()),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="parent_tallies",
                        to="trials.campaign",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("campaign", "role", "parent_role"), name="parent_tally_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="ReasonTally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "label",
                    models.CharField(
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
                ("failure", models.CharField(max_length=80)),
                ("trials", models.BigIntegerField()),
                ("newest", models.IntegerField()),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reason_tallies",
                        to="trials.campaign",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["campaign", "-trials", "failure"], name="reason_by_count")],
                "constraints": [models.UniqueConstraint(fields=("campaign", "failure"), name="reason_tally_unique")],
            },
        ),
        migrations.CreateModel(
            name="ScoreColumn",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("axis", models.CharField(max_length=5)),
                ("bin", models.IntegerField()),
                ("counts", models.JSONField()),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="score_columns",
                        to="trials.campaign",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("campaign", "axis", "bin"), name="score_column_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("role", models.CharField(blank=True, max_length=60)),
                ("bin", models.IntegerField()),
                (
                    "label",
                    models.CharField(
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
                ("trials", models.BigIntegerField()),
                ("queue_ms", models.BigIntegerField()),
                ("run_ms", models.BigIntegerField()),
                ("eval_ms", models.BigIntegerField()),
                ("log_ms", models.BigIntegerField()),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tallies",
                        to="trials.campaign",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("campaign", "role", "bin", "label"), name="tally_cell_unique")
                ],
            },
        ),
    ]
