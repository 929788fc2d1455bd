"""The parts of the verifier against others: signatures, judges, the formula of the chain, the container."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import verify_bundle
from evaluators.contract import Measurement, Profile
from evaluators.registry import ENVIRONMENTS
from tests.bundles.records import exported, small_record
from tests.factories import record
from trials.canonical import dumps
from trials.chain import WITHHOLDABLE, chain_hash
from trials.models import Event
from trials.services.keys import adopt_key
from trials.vocab import Label

# RFC 8032, section 7.1: secret key, public key, message, signature.
VECTORS = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
)


@pytest.mark.parametrize("secret,public,message,signature", VECTORS)
def test_vectors_of_the_standard(secret: str, public: str, message: str, signature: str) -> None:
    ours = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)).sign(ours[1]) == ours[2]
    assert verify_bundle.ed25519_verify(*ours)
    assert not verify_bundle.ed25519_verify(ours[0], ours[1] + b"x", ours[2])


def test_signatures_against_a_library_that_others_keep() -> None:
    draw = random.Random(3)
    for size in (0, 1, 31, 32, 1000):
        private, message = Ed25519PrivateKey.from_private_bytes(draw.randbytes(32)), draw.randbytes(size)
        public, signature = private.public_key().public_bytes_raw(), private.sign(message)
        assert verify_bundle.ed25519_verify(public, message, signature)
        for at in draw.sample(range(64), 4):
            wrong = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
            assert not verify_bundle.ed25519_verify(public, message, wrong)


def test_signatures_that_only_look_right_are_refused() -> None:
    public, message, signature = (bytes.fromhex(text) for text in VECTORS[1][1:])
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    assert not verify_bundle.ed25519_verify(public, message, signature[:32] + s.to_bytes(32, "little"))
    assert not verify_bundle.ed25519_verify(b"\xff" * 32, message, signature)
    assert not verify_bundle.ed25519_verify(public, message, signature[:-1])
    assert not verify_bundle.ed25519_verify(public[:-1], message, signature)


@pytest.mark.django_db
def test_both_formulas_of_the_chain_agree() -> None:
    campaign = small_record()
    assert verify_bundle.WITHHOLDABLE == WITHHOLDABLE
    for event in Event.objects.filter(campaign=campaign).select_related("trial"):
        line = {
            "seq": event.seq,
            "at": event.at.isoformat(),
            "kind": event.kind,
            "actor": event.actor,
            "trial": None if event.trial is None else event.trial.number,
            "body": event.payload,
            "previous": event.previous_sha256,
            "salt": event.salt,
        }
        named = {name: line[name] for name in ("seq", "kind", "actor", "trial", "previous", "salt")}
        assert verify_bundle.event_hash(line) == event.sha256 == chain_hash(at=event.at, body=event.body, **named)


def measurements(draw: random.Random, profile: Profile) -> dict[str, Any]:
    """A measurement whose figures lie around the limits of a profile."""
    status = draw.choice(["ok"] * 9 + ["crash", "size_blocked"])
    scale = draw.choice((0.5, 0.99, 1.0, 1.04, 1.06, 2.0))
    cap = profile.limits.artifact_bytes or 1_000
    score = draw.choice((None, -0.1, 0.0, 1e-6, 0.4, 0.9, 1.5, 2.5, 40.0, 1e6)) if status == "ok" else None
    processes = int(str(profile.settings.get("processes", 2))) + draw.choice((0, 0, 0, 1))
    seconds = {f"seed_{n}": scale * float(str(profile.settings.get("process_seconds", 9.0))) for n in range(processes)}
    cpu = float(str(profile.settings.get("train_cpu_seconds", 1.0))) + float(
        str(profile.settings.get("eval_cpu_seconds", 1))
    )
    return record(
        score,
        status=status,
        reason="r",
        code_bytes=draw.choice((None, 100, 100, 100)),
        payload_bytes=int(cap * draw.choice((0.5, 1.0, 1.01))) - 100,
        train_units=draw.choice((None, int((profile.limits.train_units or 100) * scale))),
        eval_units=draw.choice((None, int((profile.limits.eval_units or 100) * scale))),
        seconds={"train": scale * profile.limits.train_seconds, "spell": 1.0, "predict": 2.0, **seconds},
        cpu_seconds={f"seed_{n}": scale * cpu for n in range(processes)},
        numbers={
            "budget_used": scale, "train_reference_seconds": 1.0, "cap_reference_seconds": 2.0,
            "correct": draw.choice((0, 70, 85, 96, 100)), "scored": draw.choice((0, 100, 100)),
        },
    )  # fmt: skip


@pytest.mark.parametrize("environment", ["parameter_golf", "nanochat_d12", "cifar_airbench96"])
def test_labels_are_derived_as_the_judges_do(environment: str) -> None:
    """Every profile of the environment, figures on both sides of each limit."""
    spec, draw, seen = ENVIRONMENTS[environment].spec, random.Random(4), set[str]()
    for profile in spec.profiles:
        said = json.loads(dumps(spec.as_json(profile)))
        for _ in range(300):
            body = measurements(draw, spec.profiles[profile])
            known = {name: body[name] for name in Measurement.__dataclass_fields__ if name in body}
            outcome = ENVIRONMENTS[environment].judge(Measurement(**known), spec.profiles[profile])
            assert verify_bundle.judge(said, json.loads(dumps(body))) == (str(outcome.label), outcome.score)
            seen.add(str(outcome.label))
    assert {"valid", "crash", "invalid_result"} <= seen and len(seen) >= 5
    assert seen - {"valid"} <= verify_bundle.FAILED


def test_the_verifier_knows_all_labels() -> None:
    assert {str(label) for label in Label} == verify_bundle.SCORED | verify_bundle.FAILED | {"harness_abort"}


@pytest.mark.django_db
def test_it_runs_alone_without_this_project(tmp_path: Path) -> None:
    """The copy in the bundle, in an isolated interpreter that sees no installed package."""
    path = exported(small_record(), tmp_path)
    with zipfile.ZipFile(path) as archive:
        (tmp_path / "alone.py").write_bytes(archive.read("verify_bundle.py"))
        assert archive.testzip() is None

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(tmp_path / "alone.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    unpinned = run(str(path), "--json")
    report = json.loads(unpinned.stdout)
    assert (unpinned.returncode, report["ok"], report["signer"], report["failures"]) == (0, True, "unpinned", [])
    key = adopt_key("test").public
    (tmp_path / "key.txt").write_text(key + "\n")
    pinned = run(str(path), "--key", "key.txt")
    assert pinned.returncode == 0 and f"signer: {key}" in pinned.stdout
    assert run(str(path), "--key", "zz").returncode == 2
    wrong = run(str(path), "--key", "0" * 64, "--json")
    assert wrong.returncode == 1 and not json.loads(wrong.stdout)["ok"]
    broken = run(str(tmp_path / "alone.py"))
    assert broken.returncode == 1 and broken.stderr.startswith("error: ") and len(broken.stderr.splitlines()) == 1


def test_sorting_more_than_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_bundle.Sorter, "RUN", 10)
    draw, sorter = random.Random(5), verify_bundle.Sorter()
    digests = [draw.randbytes(32) for _ in range(95)]
    for digest in [*digests, *digests[:40]]:
        sorter.add(digest)
    assert list(sorter) == sorted(digests) == list(sorter)
