"""The web process: ``python -m autoresearch_site.web FD`` serves the site on a listening socket that it inherited."""

from __future__ import annotations

import socket
import sys

import uvicorn


def main(descriptor: int) -> None:
    """Serve until SIGTERM; open pages and sockets get two seconds to finish."""
    config = uvicorn.Config(
        "autoresearch_site.asgi:application",
        lifespan="off",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
