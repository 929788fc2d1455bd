"""kombu's channel to Redis: it outlives a connection that is lost while it is being closed, and keeps its client."""

from __future__ import annotations

import logging
from typing import Any

import redis.exceptions
from kombu.transport.redis import Channel, Transport

logger = logging.getLogger(__name__)


class SurvivingChannel(Channel):
    """A closed connection is told of as a lost one.

    kombu 5.7 closes a connection that failed twice; the second time it looks for the address of one that is gone, and
    the AttributeError ends the worker, with all that it measures. An error of the connection has it connect again.
    """

    _kept: Any = None

    def _connparams(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        if self.connection.client is None:
            raise redis.exceptions.ConnectionError("the connection to the broker was closed")
        found: dict[str, Any] = super()._connparams(*arguments, **named)  # type: ignore[misc]
        return found

    def _create_client(self, asynchronous: bool = False) -> Any:
        """One client for a pool of connections. kombu makes a new one for every message that is sent, taken or done."""
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        """A message that was taken goes back into its queue. Where the broker is gone it is one of the lost messages
        that the tick finds: kombu would write it into a temporary file, which nobody reads."""
        try:
            super()._restore(message, leftmost=leftmost)  # type: ignore[call-arg]  # virtual.Channel's has none
        except (redis.exceptions.RedisError, OSError) as error:
            logger.info("a message could not be given back to the broker: %s", error)


def install() -> None:
    """All connections to Redis that kombu opens in this process from now on have such channels."""
    Transport.Channel = SurvivingChannel
