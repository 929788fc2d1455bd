"""A worker that outlives its broker: kombu's channel to Redis where a connection is lost while it is being closed."""

from __future__ import annotations

from typing import Any

import redis.exceptions
from kombu.transport.redis import Channel, Transport


class SurvivingChannel(Channel):
    """A closed connection is told of as a lost one.

    kombu 5.7 closes a connection that failed twice; the second time it looks for the address of one that is gone, and
    the AttributeError ends the worker, with all that it measures. An error of the connection has it connect again.
    """

    def _connparams(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        if self.connection.client is None:
            raise redis.exceptions.ConnectionError("the connection to the broker was closed")
        found: dict[str, Any] = super()._connparams(*arguments, **named)  # type: ignore[misc]
        return found


def install() -> None:
    """All connections to Redis that kombu opens in this process from now on have such channels."""
    Transport.Channel = SurvivingChannel
