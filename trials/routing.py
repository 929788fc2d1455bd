"""Addresses of the live sockets."""

from __future__ import annotations

from django.urls import path

from trials.consumers import CampaignConsumer

websocket_urlpatterns = [path("ws/campaigns/<slug:slug>/", CampaignConsumer.as_asgi())]
