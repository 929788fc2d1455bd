"""All addresses of the site."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from autoresearch_site import api, metrics

urlpatterns = [
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("api/v1/", api.urls()),
    path("metrics", metrics.metrics, name="metrics"),
    path("", include("trials.urls")),
    path("", include("specialists.urls")),
]
