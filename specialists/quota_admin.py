"""Quotas in the admin, whose own log has each change."""

from __future__ import annotations

from django.contrib import admin

from specialists.models import Quota


@admin.register(Quota)
class QuotaAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("user", "campaigns", "device_hours", "usd")
    autocomplete_fields = ("user",)
