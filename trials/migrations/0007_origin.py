from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0006_enforcement"),
    ]

    operations = [
        migrations.AddField(
            model_name="campaign",
            name="origin",
            field=models.JSONField(default=dict),
        ),
    ]
