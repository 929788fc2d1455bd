"""Addresses of the pages of sessions, studies, workers and queues, and of steering."""

from __future__ import annotations

from django.urls import path

from specialists import steering_views, study_views, views
from specialists.launch import STEERING
from specialists.operations import views as operations_views

app_name = "specialists"

urlpatterns = [
    path("workers/", operations_views.workers, name="workers"),
    path("workers/head.json", operations_views.head, name="workers-head"),
    path("studies/", study_views.studies, name="studies"),
    path("studies/<slug:slug>/", study_views.study, name="study"),
    path("studies/<slug:slug>/head.json", study_views.study_head, name="study-head"),
    path("studies/<slug:slug>/report.json", study_views.study_json, name="study-json"),
    path("studies/<slug:slug>/charts/<slug:name>.json", study_views.study_chart, name="study-chart"),
    path("launch/", steering_views.launch_page, name="launch"),
    *(path(f"campaigns/<slug:slug>/{verb}/", steering_views.steer, {"verb": verb}, name=verb) for verb in STEERING),
    path("campaigns/<slug:slug>/trials/<int:number>/remeasure/", steering_views.remeasure, name="remeasure"),
    path("campaigns/<slug:slug>/weight/", steering_views.weigh, name="weight"),
    path(
        "campaigns/<slug:slug>/trials/<int:number>/remeasure/cancel/",
        steering_views.remeasure_cancel,
        name="remeasure-cancel",
    ),
    path("campaigns/<slug:slug>/sessions/", views.session_list, name="sessions"),
    path("campaigns/<slug:slug>/sessions/<int:number>/", views.session, name="session"),
    path("campaigns/<slug:slug>/sessions/<int:number>/calls/<int:call>.json", views.call_body, name="call"),
]
