from importlib import import_module

from django.apps import AppConfig


class TrialsConfig(AppConfig):
    name = "trials"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        for receivers in ("trials.services.logins", "trials.services.roles", "trials.services.upkeep"):
            import_module(receivers)
