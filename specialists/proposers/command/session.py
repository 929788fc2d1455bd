"""One run of an agent in its sandbox, from the laid-out work tree to what it left there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.child.frames import Kind, pack_files
from evaluators.harness.wire import Ended, Late, Spent, Wire, WireError, describe
from evaluators.sandbox import Bounds, Confined, Isolation, SandboxUnavailable, reach, spawn
from evaluators.sandbox.view import view
from specialists.proposals import MAX_FILE_BYTES, BadProposal
from specialists.proposers.command.answer import OWN, Left, unpack
from specialists.proposers.command.config import USUAL, Config
from specialists.proposers.command.prompt import PROMPT, SENTENCE
from specialists.proposers.command.proxy import Proxy

CHILD = Path(__file__).resolve().parent / "child"
LEVEL = "L3"
BOX = "/box"
WORK, HOME, TEMPORARY = f"{BOX}/work", f"{BOX}/home", f"{BOX}/scratch"
LOG_BYTES = 1 << 20
START_SECONDS, GRACE_SECONDS = 60.0, 30.0
OVERHEAD_BYTES = 1 << 17


class AgentUnavailable(RuntimeError):
    """This host cannot run the agent: a fault of ours, in one line."""


@dataclass
class Run:
    """What is known of one run, filled while it goes on; ``left`` is None until it has come to an end of its own."""

    isolation: Isolation | None = None
    left: Left | None = None
    why: str = ""
    log: bytes = b""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    reached: Mapping[str, int] | None = None
    refused: Mapping[str, int] | None = None


def walls(config: Config) -> Isolation:
    """The isolation that agents get here. Raises AgentUnavailable below L3: there is no curated root then."""
    try:
        isolation = reach(LEVEL, loopback=bool(config.hosts))
    except SandboxUnavailable as error:
        raise AgentUnavailable(str(error)) from error
    if isolation.level != LEVEL:
        raise AgentUnavailable(
            f"an agent runs at {LEVEL} only, this host reaches {isolation.level}: {isolation.why_lower}"
        )
    return isolation


def run(
    done: Run,
    config: Config,
    files: Mapping[str, str],
    surface: Sequence[str],
    prompt: str,
    held: Callable[[], None],
) -> None:
    """Run the agent once. files: the parent's recipe, laid out with PROMPT.md. ``held`` may raise to end it.

    Raises AgentUnavailable for faults of ours, and what ``held`` raises.
    """
    done.isolation = walls(config)
    with contextlib.ExitStack() as opened:
        proxy = opened.enter_context(Proxy(config.hosts)) if config.hosts else None
        shown = [*config.show, *(place for place in USUAL if os.path.exists(place)), *([proxy.path] if proxy else [])]
        try:
            confined = opened.enter_context(
                spawn(done.isolation, _bounds(config), argv=(), readonly=[Path(place) for place in shown], child=CHILD)
            )
            _talk(done, confined, config, _tree(files, prompt), _settings(config, files, surface, proxy), held)
        except (SandboxUnavailable, OSError) as error:
            raise AgentUnavailable(f"the agent's sandbox: {error}") from error
        finally:
            if proxy is not None:
                done.reached, done.refused = dict(proxy.reached), dict(proxy.refused)


def _bounds(config: Config) -> Bounds:
    return Bounds(
        wall_seconds=START_SECONDS + config.seconds + GRACE_SECONDS,
        cpu_seconds=START_SECONDS + config.cpu_seconds,
        memory_bytes=config.memory_bytes,
        scratch_bytes=config.scratch_bytes,
        log_bytes=LOG_BYTES,
        processes=config.processes,
        address_space=False,  # programs on V8 reserve far more of it than they use
    )


def _tree(files: Mapping[str, str], prompt: str) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()} | {PROMPT: prompt.encode()}


def _settings(config: Config, files: Mapping[str, str], surface: Sequence[str], proxy: Proxy | None) -> dict[str, Any]:
    sight = view()
    own = {
        "HOME": HOME,
        "TMPDIR": TEMPORARY,
        "PATH": config.path(),
        "PWD": WORK,
        "RECIPE_PYTHON": sight.python,
        "PYTHONPATH": os.pathsep.join(sight.search),
    }
    return {
        "folder": WORK,
        "make": [HOME, TEMPORARY],
        "program": config.program,
        "command": words(config, surface),
        "env": {**own, **config.plain, **config.secret},
        "proxy": proxy.path if proxy else "",
        "wanted": [*files, *OWN],
        "file_bytes": MAX_FILE_BYTES,
    }


def words(config: Config, surface: Sequence[str]) -> list[str]:
    """The command line; ``{files}`` alone becomes one word for each file that may be changed."""
    values = {"{prompt}": SENTENCE, "{prompt_file}": f"{WORK}/{PROMPT}", "{python}": view().python}
    found: list[str] = []
    for word in config.words:
        if word == "{files}":
            found += surface
            continue
        for name, value in {**values, "{files}": " ".join(surface)}.items():
            word = word.replace(name, value)  # noqa: PLW2901
        found.append(word)
    return found


def _talk(
    done: Run,
    confined: Confined,
    config: Config,
    tree: Mapping[str, bytes],
    settings: Mapping[str, Any],
    held: Callable[[], None],
) -> None:
    """Lay out, wait, take what is left. Raises AgentUnavailable when the command cannot be started."""
    wire = Wire(confined, lambda units: held())
    started = False
    try:
        wire.start_clock(START_SECONDS)
        wire.send(Kind.SETTINGS, json.dumps(settings).encode())
        wire.receive({Kind.READY: 0})
        started = True
        wire.start_clock(config.seconds, cpu_floor=config.cpu_seconds)
        wire.send(Kind.SOURCE, pack_files(tree))
        most = (len(settings["wanted"]) + 1) * (MAX_FILE_BYTES + 1) + OVERHEAD_BYTES
        kind, payload = wire.receive({Kind.WORKED: most})
        if kind is Kind.FAILED:
            raise AgentUnavailable(f"the command cannot be started: {payload.decode(errors='replace')[:200]}")
        done.left = unpack(payload, settings["wanted"])
    except Late:
        done.why = f"the agent's time is over: {config.seconds:g} s"
    except Spent:
        done.why = f"the agent's processor time is over: {config.cpu_seconds:g} s"
    except Ended as error:
        if not started or (error.how is not None and error.how.cause == "fault"):
            raise AgentUnavailable(f"the agent's sandbox broke: {error}") from error
        done.why = f"the agent's sandbox was ended: {describe(error.how)}"
    except (WireError, BadProposal) as error:
        done.why = f"the agent's sandbox answered with nonsense: {error}"[:300]
    finally:
        done.seconds, done.cpu_seconds = (round(value, 3) for value in wire.clocks())
        confined.kill()
        done.log = confined.log()
