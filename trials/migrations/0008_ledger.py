"""The site's own chain, salts of events, what bundles bring along; and the database refuses TRUNCATE as well, in every
session mode: triggers that are enabled ALWAYS fire for a replica, too."""

from django.db import migrations, models

LEDGER = ("trials_event", "trials_measurement", "trials_blob", "trials_siteevent")
EARLIER = {
    "trials_event": ("trials_event_append_only",),
    "trials_measurement": ("trials_measurement_append_only",),
    "trials_blob": ("trials_blob_append_only",),
    "trials_trial": ("trials_trial_no_delete", "trials_trial_finished"),
}
TRUNCATABLE = (*LEDGER, "trials_trial")

FORWARD = (
    "CREATE TRIGGER trials_siteevent_append_only BEFORE UPDATE OR DELETE ON trials_siteevent "
    "FOR EACH ROW EXECUTE FUNCTION trials_refuse_change();\n"
    "ALTER TABLE trials_siteevent ENABLE ALWAYS TRIGGER trials_siteevent_append_only;\n"
    + "".join(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION trials_refuse_change();\n"
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate;\n"
        for table in TRUNCATABLE
    )
    + "".join(
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};\n" for table, names in EARLIER.items() for name in names
    )
)
BACKWARD = (
    "DROP TRIGGER trials_siteevent_append_only ON trials_siteevent;\n"
    + "".join(f"DROP TRIGGER {table}_no_truncate ON {table};\n" for table in TRUNCATABLE)
    + "".join(f"ALTER TABLE {table} ENABLE TRIGGER {name};\n" for table, names in EARLIER.items() for name in names)
)


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0007_origin"),
    ]

    operations = [
        migrations.CreateModel(
            name="SiteEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("seq", models.BigIntegerField(unique=True)),
                ("at", models.DateTimeField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("founded", "founded"),
                            ("key_adopted", "key adopted"),
                            ("key_rotated", "key rotated"),
                            ("logged_in", "logged in"),
                            ("exported", "exported"),
                            ("imported", "imported"),
                            ("restore_accepted", "restore accepted"),
                        ],
                        max_length=24,
                    ),
                ),
                ("actor", models.CharField(max_length=150)),
                ("body", models.TextField()),
                ("salt", models.CharField(max_length=32)),
                ("previous_sha256", models.CharField(blank=True, max_length=64)),
                ("sha256", models.CharField(max_length=64)),
            ],
            options={
                "ordering": ["seq"],
            },
        ),
        migrations.AddField(
            model_name="campaign",
            name="bundle",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="event",
            name="redaction",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="event",
            name="salt",
            field=models.CharField(blank=True, max_length=32),
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
                    ("sealed_measured", "sealed measured"),
                    ("trace_imported", "trace imported"),
                    ("trial_imported", "trial imported"),
                    ("restore_accepted", "restore accepted"),
                ],
                max_length=24,
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
