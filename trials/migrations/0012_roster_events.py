from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("trials", "0011_verified"),
    ]

    operations = [
        migrations.AlterField(
            model_name="siteevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("founded", "founded"),
                    ("key_adopted", "key adopted"),
                    ("key_rotated", "key rotated"),
                    ("logged_in", "logged in"),
                    ("exported", "exported"),
                    ("imported", "imported"),
                    ("restore_accepted", "restore accepted"),
                    ("roster_changed", "roster changed"),
                    ("roster_deleted", "roster deleted"),
                ],
                max_length=24,
            ),
        ),
    ]
