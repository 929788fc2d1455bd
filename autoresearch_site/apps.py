import logging

from django.apps import AppConfig
from django.conf import settings

from autoresearch_site.celery import app as celery_app  # loading it makes it the app that shared tasks bind to

__all__ = ["SiteConfig", "celery_app"]


class SiteConfig(AppConfig):
    name = "autoresearch_site"

    def ready(self) -> None:
        """What libraries warn of is a line like all others."""
        logging.captureWarnings(settings.LOG_FORMAT == "json")
