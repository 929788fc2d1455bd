import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("specialists", "0003_lineage_at_scale"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="StoredRoster",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        help_text="As in --roster NAME: small letters, digits, hyphens.", max_length=60, unique=True
                    ),
                ),
                ("title", models.CharField(max_length=120)),
                ("environment", models.CharField(max_length=60)),
                (
                    "shared",
                    models.BooleanField(default=False, help_text="Roles may own the same files, as generalists do."),
                ),
                ("changed_at", models.DateTimeField(auto_now=True)),
                (
                    "changed_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "roster",
                "ordering": ["environment", "name"],
            },
        ),
        migrations.CreateModel(
            name="StoredRole",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="Small letters, digits, underscores.", max_length=60)),
                ("surface", models.JSONField(default=list, help_text="Files that it may change, separated by commas.")),
                ("preamble", models.TextField(help_text="What the role is for.", max_length=2000)),
                (
                    "priors",
                    models.TextField(blank=True, help_text="What its agent should know beforehand.", max_length=4000),
                ),
                (
                    "roster",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="roles", to="specialists.storedroster"
                    ),
                ),
            ],
            options={
                "verbose_name": "role",
                "ordering": ["id"],
            },
        ),
    ]
