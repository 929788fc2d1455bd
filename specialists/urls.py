"""Addresses of the pages of sessions."""

from __future__ import annotations

from django.urls import path

from specialists import views

app_name = "specialists"

urlpatterns = [
    path("campaigns/<slug:slug>/sessions/", views.session_list, name="sessions"),
    path("campaigns/<slug:slug>/sessions/<int:number>/", views.session, name="session"),
    path("campaigns/<slug:slug>/sessions/<int:number>/calls/<int:call>.json", views.call_body, name="call"),
]
