"""Addresses of the pages and of what they fetch."""

from __future__ import annotations

from django.urls import path

from trials import bundle_views, notice_views, people_views, report_views, token_views, views
from trials.explorer import compare, pages, table_views, tree_views

app_name = "trials"

urlpatterns = [
    path("", views.campaigns, name="campaigns"),
    path("webhooks/", notice_views.webhooks, name="webhooks"),
    path("webhooks/<int:pk>/remove/", notice_views.remove, name="webhook-remove"),
    path("webhooks/<int:pk>/test/", notice_views.try_out, name="webhook-test"),
    path("tokens/", token_views.tokens, name="tokens"),
    path("tokens/<int:pk>/revoke/", token_views.revoke, name="token-revoke"),
    path("campaigns/<slug:slug>/", views.campaign, name="campaign"),
    path("campaigns/<slug:slug>/readers/", people_views.readers, name="readers"),
    path("campaigns/<slug:slug>/trials/<int:number>/note/", people_views.note, name="note"),
    path("campaigns/<slug:slug>/trials/<int:number>/star/", people_views.star, name="star"),
    path("campaigns/<slug:slug>/head.json", views.head, name="head"),
    path("campaigns/<slug:slug>/charts/<slug:name>.json", views.chart, name="chart"),
    path("campaigns/<slug:slug>/plots/<slug:name>.json", pages.plot, name="plot"),
    path("campaigns/<slug:slug>/frontier/", pages.frontier, name="frontier"),
    path("campaigns/<slug:slug>/failures/", pages.failures, name="failures"),
    path("campaigns/<slug:slug>/throughput/", pages.throughput, name="throughput"),
    path("campaigns/<slug:slug>/roles/", pages.roles, name="roles"),
    path("campaigns/<slug:slug>/lineage/", tree_views.lineage, name="lineage"),
    path("campaigns/<slug:slug>/lineage/<int:number>/line/", tree_views.line, name="lineage-line"),
    path("campaigns/<slug:slug>/lineage/<int:number>/children/", tree_views.children, name="lineage-children"),
    path("campaigns/<slug:slug>/lineage/<int:number>/edge/", tree_views.edge, name="lineage-edge"),
    path("campaigns/<slug:slug>/compare/", compare.compare, name="compare"),
    path("campaigns/<slug:slug>/report/", report_views.report, name="report"),
    path("campaigns/<slug:slug>/report.json", report_views.report_json, name="report-json"),
    path("campaigns/<slug:slug>/files/<path:name>", report_views.trace_file, name="trace-file"),
    path("verify_bundle.py", bundle_views.verifier, name="verifier"),
    path("campaigns/<slug:slug>/audit/", bundle_views.audit, name="audit"),
    path("campaigns/<slug:slug>/bundle.zip", bundle_views.bundle, name="bundle"),
    path("campaigns/<slug:slug>/trials/", table_views.trials, name="trials"),
    path("campaigns/<slug:slug>/trials/rows/", table_views.trial_rows, name="trials-rows"),
    path("campaigns/<slug:slug>/trials.csv", table_views.trials_csv, name="trials-csv"),
    path("campaigns/<slug:slug>/trials/<int:number>/", views.trial, name="trial"),
    path("campaigns/<slug:slug>/trials/<int:number>/log.txt", views.trial_log, name="trial-log"),
]
