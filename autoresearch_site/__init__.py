"""The wiring: settings, URLs, ASGI, Celery and the embedded services. No rule of the domain lives here."""
