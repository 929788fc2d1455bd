"""HTTP goes to Django, WebSockets to the live consumers (same-origin, logged-in browsers only)."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()  # loads the apps, so it stands before anything that imports models

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.conf import settings  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from autoresearch_site.body_limit import BodyLimit  # noqa: E402
from autoresearch_site.record import stop_unless_whole  # noqa: E402
from autoresearch_site.static_files import StaticFiles  # noqa: E402
from specialists.routing import websocket_urlpatterns as of_many  # noqa: E402
from trials.routing import websocket_urlpatterns as of_campaigns  # noqa: E402

stop_unless_whole()

application = ProtocolTypeRouter(
    {
        "http": StaticFiles(BodyLimit(http, settings.MAX_BODY_BYTES)),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter([*of_campaigns, *of_many]))),
    }
)

# What is loaded by now stays: a full collection that looks through it again stops every page for a tenth of a second.
_ = get_resolver().url_patterns
gc.collect()
gc.freeze()
