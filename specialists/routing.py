"""Addresses of the live sockets of pages that show many campaigns."""

from __future__ import annotations

from django.urls import path

from specialists.consumers import StudyConsumer, WorkersConsumer

websocket_urlpatterns = [
    path("ws/studies/<slug:slug>/", StudyConsumer.as_asgi()),
    path("ws/workers/", WorkersConsumer.as_asgi()),
]
