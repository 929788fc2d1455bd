from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0005_lineage_at_scale"),
    ]

    operations = [
        migrations.AddField(
            model_name="campaign",
            name="crossing_count",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="campaign",
            name="enforcement",
            field=models.CharField(
                choices=[("strict", "strict"), ("advisory", "advisory")], default="strict", max_length=10
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
                    ("sealed_measured", "sealed measured"),
                    ("trace_imported", "trace imported"),
                    ("trial_imported", "trial imported"),
                ],
                max_length=24,
            ),
        ),
    ]
