"""The web process: ``python -m autoresearch_site.web FD`` serves the site on a listening socket that it inherited."""

from __future__ import annotations

import os
import socket
import sys

import uvicorn
from django.conf import settings

LARGEST_FRAME = 64 << 10
"""Bytes of one message to a socket: pages send a few dozen."""


def main(descriptor: int) -> None:
    """Serve until SIGTERM; open pages and sockets get two seconds to finish."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")
    config = uvicorn.Config(
        "autoresearch_site.asgi:application",
        lifespan="off",
        access_log=False,
        ws_max_size=LARGEST_FRAME,
        log_config=None if settings.LOG_FORMAT == "json" else uvicorn.config.LOGGING_CONFIG,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
