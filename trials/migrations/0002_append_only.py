"""The database itself refuses to change the ledger: not even the site's own role may edit or delete what was recorded."""

from django.db import migrations

ALWAYS = ("trials_event", "trials_measurement", "trials_blob")

FORWARD = """
CREATE FUNCTION trials_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the ledger is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER trials_trial_no_delete BEFORE DELETE ON trials_trial
    FOR EACH ROW EXECUTE FUNCTION trials_refuse_change();
CREATE TRIGGER trials_trial_finished BEFORE UPDATE ON trials_trial
    FOR EACH ROW WHEN (OLD.state = 'finished') EXECUTE FUNCTION trials_refuse_change();
""" + "".join(
    f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
    "FOR EACH ROW EXECUTE FUNCTION trials_refuse_change();\n"
    for table in ALWAYS
)

BACKWARD = (
    "".join(f"DROP TRIGGER {table}_append_only ON {table};\n" for table in ALWAYS)
    + "DROP TRIGGER trials_trial_finished ON trials_trial; DROP TRIGGER trials_trial_no_delete ON trials_trial;"
    + "DROP FUNCTION trials_refuse_change();"
)


class Migration(migrations.Migration):
    dependencies = [("trials", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
