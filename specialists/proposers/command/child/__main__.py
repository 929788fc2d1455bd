"""Inside of an agent's sandbox: lay out the work tree, run the command, hand back what it left. Standard library only.

What is handed back was made by the agent, and an agent of the same user could speak in this program's place: the
other side believes none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import confine
import frames
from frames import Kind

PRIVATE = ("bwrap", "unshare")
ENTRIES_AT_MOST = 1000
TOLD_AT_MOST = 40
PIECE = 1 << 16
CANNOT_START = 127


def main() -> None:
    """Ends with a WORKED frame, or with a FAILED one when the command cannot be started."""
    if confine.confine()["backend"] not in PRIVATE:
        raise RuntimeError("an agent needs namespaces of its own")
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(2, 1)
    settings = json.loads(frames.read_frame(incoming, Kind.SETTINGS))
    frames.write_frame(outgoing, Kind.READY)
    folder = Path(settings["folder"])
    for name, body in frames.unpack_files(frames.read_frame(incoming, Kind.SOURCE)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    for place in settings["make"]:
        os.makedirs(place, exist_ok=True)
    os.close(incoming)
    try:
        status = run(settings, outgoing)
    except OSError as error:
        frames.write_frame(outgoing, Kind.FAILED, str(error).encode())
        return
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)  # this namespace's: the keeper and this process are spared
    report, files = collect(folder, settings["wanted"], settings["file_bytes"])
    told = json.dumps({"status": status, **report}).encode()
    frames.write_frame(outgoing, Kind.WORKED, frames.pack_files({"": told, **files}))


def run(settings: Mapping[str, Any], outgoing: int) -> int:
    """Exit code of the command, negative for a signal. Raises OSError when it cannot be started."""
    environment = {**os.environ, **settings["env"]}
    listener = None
    if settings["proxy"]:
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environment |= dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), address)
    failed, told = os.pipe2(os.O_CLOEXEC)
    agent = os.fork()
    if agent == 0:
        try:
            os.setsid()
            os.close(outgoing)
            os.chdir(settings["folder"])
            os.execve(settings["program"], settings["command"], environment)  # noqa: S606
        except OSError as error:
            os.write(told, str(error).encode())
        finally:
            os._exit(CANNOT_START)
    os.close(told)
    if why := os.read(failed, PIECE):
        raise OSError(why.decode(errors="replace"))
    os.close(failed)
    if listener is None:
        return os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1])
    return asyncio.run(serve(listener, settings["proxy"], agent))


async def serve(listener: socket.socket, proxy: str, agent: int) -> int:
    """Carry every connection to the proxy outside, by its Unix socket, until the agent has ended."""
    server = await asyncio.start_server(partial(carry, proxy), sock=listener)
    try:
        _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, agent, 0)
    finally:
        server.close()
    return os.waitstatus_to_exitcode(status)


async def carry(proxy: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, both ways."""
    with contextlib.suppress(OSError):
        up_reader, up_writer = await asyncio.open_unix_connection(proxy)
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
    writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, until its end."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def collect(folder: Path, wanted: Sequence[str], most: int) -> tuple[dict[str, object], dict[str, bytes]]:
    """(what is told of the tree, the wanted files that are plain and of at most ``most`` bytes)."""
    files: dict[str, bytes] = {}
    odd: dict[str, str] = {}
    for name in wanted:
        found = read(folder / name, most)
        if isinstance(found, bytes):
            files[name] = found
        else:
            odd[name] = found
    strangers = [name for name in names(folder) if name not in wanted]
    return {"odd": odd, "strangers": strangers[:TOLD_AT_MOST]}, files


def read(path: Path, most: int) -> bytes | str:
    """Content of a plain file, or what is wrong with it. Waits for nobody."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return "is no plain file"
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return data if len(data) <= most else f"has more than {most} bytes"


def names(folder: Path) -> Iterator[str]:
    """Files below a folder that are not hidden and were not made by Python itself; a bounded number is looked at."""
    looked_at = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in files:
            looked_at += 1
            if looked_at > ENTRIES_AT_MOST:
                return
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder).encode(errors="replace").decode()


main()
