"""``ro-crate-metadata.json``: the bundle described in RO-Crate 1.2, with PROV's words for who made what from what."""

from __future__ import annotations

import json
import mimetypes
from typing import Any

from trials.bundles.container import Member, ZipWriter
from trials.models import Campaign, Event

SPECIFICATION = "https://w3id.org/ro/crate/1.2"
ABOUT = {
    "verify_bundle.py": "Checks this bundle: python3 verify_bundle.py FILE.zip --key PUBLIC",
    "campaign.json": "Plan, counters and head of the campaign",
    "spec.json": "What is measured: environment, profile, limits",
    "events.jsonl": "The ledger: numbered events, chained by SHA-256 over canonical JSON",
    "trials.jsonl": "Hypothesis, source, outcome of every trial, by number",
    "measurements.jsonl": "What evaluators saw, in the order in which events name it",
    "evaluations.jsonl": "Work orders: queue, lease, worker",
    "sessions.jsonl": "Agent sessions, those that came to nothing included",
    "calls.jsonl": "Requests of sessions to language models: tokens, cost",
    "accounts.jsonl": "What the roles have used of language models",
    "rollups.jsonl": "Trials by role, label and hour",
    "frontier.jsonl": "Improvements of the best score in the order of recording",
    "redactions.json": "What was left out, and why",
    "schema.json": "Which columns of the tables hold hashes of blobs",
    "results.tsv": "Finished trials as released runs list them",
    "tree.tsv": "All trials in the order of their ancestry",
    "best.json": "The best trial",
    "LEADERBOARD.md": "The newest keeps",
    "KNOWLEDGE.md": "Lineage of the best, its children, recent activity",
    "report.html": "The campaign to look at, without a server",
}


def write(campaign: Campaign, writer: ZipWriter, row: dict[str, Any]) -> None:
    """Describe all members that are written so far."""
    files = [_file(member) for member in writer.members]
    times = Event.objects.filter(campaign=campaign).order_by("seq").values_list("at", flat=True)
    first, last = times.first(), times.last()
    begun, ended = ("" if at is None else at.isoformat() for at in (first, last))
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": SPECIFICATION},
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": row["name"],
        "description": f"Audit bundle of a search over {campaign.environment}, profile {campaign.profile}: "
        "every trial with its source, its measurements and its events.",
        "identifier": f"sha256:{campaign.head_sha256}",
        "datePublished": ended,
        "license": {"@id": "#licence-trace"},
        "hasPart": [{"@id": item["@id"]} for item in files],
        "mentions": {"@id": "#campaign"},
        "prov:wasGeneratedBy": {"@id": "#campaign"},
    }
    activity = {
        "@id": "#campaign",
        "@type": ["CreateAction", "prov:Activity"],
        "name": row["name"],
        "startTime": begun,
        "endTime": ended,
        "instrument": {"@id": "#evaluator"},
        "agent": {"@id": "#proposer"},
        "result": {"@id": "./"},
        "prov:used": {"@id": "spec.json"},
        "prov:wasAssociatedWith": [{"@id": "#proposer"}, {"@id": "#evaluator"}],
    }
    context = [f"{SPECIFICATION}/context", {"prov": "http://www.w3.org/ns/prov#"}]
    graph = [descriptor, root, activity, *_agents(campaign), *_licences(campaign), *files]
    document = {"@context": context, "@graph": graph}
    writer.add("ro-crate-metadata.json", json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")


def _agents(campaign: Campaign) -> list[dict[str, Any]]:
    """Who proposed, and who measured."""
    return [
        {
            "@id": "#proposer",
            "@type": ["SoftwareApplication", "prov:SoftwareAgent"],
            "name": f"proposer {campaign.proposer}, roster {campaign.roster}",
        },
        {
            "@id": "#evaluator",
            "@type": ["SoftwareApplication", "prov:SoftwareAgent"],
            "name": f"evaluator of {campaign.environment}",
            "description": "Its code's hash, and the machine's fingerprint, are in every measurement.",
        },
    ]


def _licences(campaign: Campaign) -> list[dict[str, Any]]:
    stated = campaign.spec.get("licences", {})
    return [
        {
            "@id": f"#licence-{what}",
            "@type": "CreativeWork",
            "name": stated.get(what, "not stated"),
            "description": f"Licence of the {what}",
        }
        for what in ("data", "recipe", "trace")
    ]


def _file(member: Member) -> dict[str, Any]:
    """One member: size in bytes, SHA-256, media type, what it is."""
    name = member.name
    described = {
        "@id": name,
        "@type": "File",
        "name": name.rpartition("/")[2],
        "contentSize": str(member.size),
        "sha256": member.sha256,
        "encodingFormat": _media_type(name),
    }
    about = ABOUT.get(name)
    if name.startswith("blobs/"):
        whole = "Blobs one after the other, in the order of their SHA-256"
        about = (
            whole if name.endswith(".bin") else "Index of the shard beside it: SHA-256, offset, size, one blob a line"
        )
    elif name.startswith("snapshots/"):
        about = "Source file of a kept trial"
    elif about is None and name.endswith(".jsonl"):
        about = f"Table of the record: {name.removesuffix('.jsonl')}"
    if about:
        described["description"] = about
    return described


def _media_type(name: str) -> str:
    known = {
        "jsonl": "application/jsonl",
        "tsv": "text/tab-separated-values",
        "md": "text/markdown",
        "py": "text/x-python",
    }
    suffix = name.rpartition(".")[2]
    return known.get(suffix) or mimetypes.types_map.get(f".{suffix}", "application/octet-stream")
