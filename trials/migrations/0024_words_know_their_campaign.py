"""Words of the search know their campaign, so that those of a far larger search beside it are not looked through."""

from django.db import connection, migrations, transaction

# A trigger, since workers of the version before write words too. No text of a person or an agent has such a lexeme: those
# that the database finds in texts have no blank.
FORWARD = """
CREATE FUNCTION trials_words_of_campaign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.words := NEW.words || array_to_tsvector(
        ARRAY[(SELECT 'campaign ' || campaign_id FROM trials_trial WHERE id = NEW.trial_id)]);
    RETURN NEW;
END $$;
CREATE TRIGGER trials_words_of_campaign BEFORE INSERT OR UPDATE ON trials_trialwords
    FOR EACH ROW EXECUTE FUNCTION trials_words_of_campaign();
"""
BACKWARD = """
DROP TRIGGER trials_words_of_campaign ON trials_trialwords;
DROP FUNCTION trials_words_of_campaign();
"""
BATCH = 20_000
FILL = """
WITH batch AS (SELECT trial_id FROM trials_trialwords WHERE trial_id > %s ORDER BY trial_id LIMIT %s),
changed AS (UPDATE trials_trialwords SET words = words WHERE trial_id IN (SELECT trial_id FROM batch) RETURNING trial_id)
SELECT max(trial_id) FROM changed
"""


def fill(apps, schema_editor):
    last = 0
    while last is not None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(FILL, [last, BATCH])
            (last,) = cursor.fetchone()


class Migration(migrations.Migration):
    atomic = False  # a batch at a time: no row is locked for long

    dependencies = [
        ("trials", "0023_retention"),
    ]

    operations = [
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
