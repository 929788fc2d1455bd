"""Addresses of the live sockets of studies."""

from __future__ import annotations

from django.urls import path

from specialists.consumers import StudyConsumer

websocket_urlpatterns = [path("ws/studies/<slug:slug>/", StudyConsumer.as_asgi())]
