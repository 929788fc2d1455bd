from django.apps import AppConfig

from autoresearch_site.celery import app as celery_app  # loading it makes it the app that shared tasks bind to

__all__ = ["SiteConfig", "celery_app"]


class SiteConfig(AppConfig):
    name = "autoresearch_site"
