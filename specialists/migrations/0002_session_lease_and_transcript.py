import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("specialists", "0001_initial"),
        ("trials", "0003_workers"),
    ]

    operations = [
        migrations.AddField(
            model_name="session",
            name="transcript",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="trials.blob"
            ),
        ),
        migrations.AddField(
            model_name="session",
            name="worker",
            field=models.CharField(blank=True, max_length=120),
        ),
    ]
