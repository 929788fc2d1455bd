"""Words lead to trials by campaign and number, so that few or many of them are found in order and a bounded number at a time."""

import django.db.models.deletion
from django.db import connection, migrations, models, transaction

# Triggers, since processes of the version before write words too; their search goes on, without an index. The lexeme that
# names the campaign, which 0024 added, is none of a text; no release has looked for it.
PLACES = """
SELECT DISTINCT trial.campaign_id, left(one.lexeme, 64) AS word, trial.number
  FROM {rows} AS row JOIN trials_trial AS trial ON trial.id = row.trial_id CROSS JOIN LATERAL unnest(row.words) AS one
 WHERE one.lexeme <> 'campaign ' || trial.campaign_id
"""
ADD = f"INSERT INTO trials_wordplace (campaign_id, word, number) {PLACES} ON CONFLICT DO NOTHING"
FORWARD = f"""
CREATE FUNCTION trials_place_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM trials_wordplace AS place USING ({PLACES.format(rows="earlier")}) AS gone
         WHERE (place.campaign_id, place.word, place.number) = (gone.campaign_id, gone.word, gone.number);
    END IF;
    {ADD.format(rows="written")};
    RETURN NULL;
END $$;
CREATE TRIGGER trials_place_words AFTER INSERT ON trials_trialwords
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION trials_place_words();
CREATE TRIGGER trials_replace_words AFTER UPDATE ON trials_trialwords
    REFERENCING OLD TABLE AS earlier NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION trials_place_words();
"""  # noqa: S608 - names of tables
BACKWARD = """
DROP TRIGGER trials_place_words ON trials_trialwords;
DROP TRIGGER trials_replace_words ON trials_trialwords;
DROP FUNCTION trials_place_words();
"""
BATCH = 20_000
NEXT = "SELECT max(trial_id) FROM (SELECT trial_id FROM trials_trialwords WHERE trial_id > %s ORDER BY 1 LIMIT %s) AS batch"
FILL = ADD.format(rows="(SELECT * FROM trials_trialwords WHERE trial_id > %s AND trial_id <= %s)")
# Back to migration 0024, whose reverse expects this trigger; words recorded meanwhile are told their campaign.
NO_CAMPAIGN = "DROP TRIGGER trials_words_of_campaign ON trials_trialwords; DROP FUNCTION trials_words_of_campaign();"
CAMPAIGN = """
CREATE FUNCTION trials_words_of_campaign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.words := NEW.words || array_to_tsvector(
        ARRAY[(SELECT 'campaign ' || campaign_id FROM trials_trial WHERE id = NEW.trial_id)]);
    RETURN NEW;
END $$;
CREATE TRIGGER trials_words_of_campaign BEFORE INSERT OR UPDATE ON trials_trialwords
    FOR EACH ROW EXECUTE FUNCTION trials_words_of_campaign();
UPDATE trials_trialwords SET words = words;
"""


def fill(apps, schema_editor):
    last = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(NEXT, [last, BATCH])
            (end,) = cursor.fetchone()
            if end is None:
                break
            cursor.execute(FILL, [last, end])
            last = end
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE trials_wordplace")


class Migration(migrations.Migration):
    atomic = False  # a batch at a time: no row is locked for long

    dependencies = [
        ("trials", "0024_words_know_their_campaign"),
    ]

    operations = [
        migrations.CreateModel(
            name="WordPlace",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "campaign_id",
                        "word",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("word", models.CharField(db_collation="C", max_length=64)),
                ("number", models.IntegerField()),
                (
                    "campaign",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="trials.campaign",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunSQL(NO_CAMPAIGN, CAMPAIGN),
        migrations.RunSQL(
            "DROP INDEX CONCURRENTLY IF EXISTS trial_words",
            "CREATE INDEX CONCURRENTLY trial_words ON trials_trialwords USING gin (words)",
            state_operations=[migrations.RemoveIndex(model_name="trialwords", name="trial_words")],
        ),
    ]
