"""What a program does with a loopback of its own, and what it must still not reach; and a device that it was given."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
import time

OUTSIDE = ("192.0.2.1", 9)  # for documentation only (RFC 5737)
MINUTE = 60.0
NO_RESERVE = 0x4000


def outcome(act, *arguments):
    """'done', 'waited', or the name of the error."""
    try:
        act(*arguments)
    except TimeoutError:
        return "waited"
    except OSError as error:
        return os.strerror(error.errno)
    return "done"


def connect(address, family=socket.AF_INET):
    with socket.socket(family) as one:
        one.settimeout(1)
        one.connect(address)
        one.send(b"hello")


def datagram(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"hello", address)


def lower_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0))  # SIOCSIFFLAGS


def new_interface():
    """Ask for a dummy interface: RTM_NEWLINK. Raises OSError with what the kernel answers."""
    attribute = struct.pack("=HH8s", 3, 12, b"dummy9")  # IFLA_IFNAME
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
        (code,) = struct.unpack_from("=i", route.recv(4096), 16)
    if code:
        raise OSError(-code, "netlink")


def meet(known):
    """TCP, version 6 and UDP between two sockets, on the very port at which the host listens."""
    found = []
    for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        with (
            socket.create_server((address, known["port"]), family=family) as server,
            socket.create_connection((address, known["port"]), timeout=MINUTE) as client,
        ):
            client.send(b"tcp")
            found.append(server.accept()[0].recv(9).decode())
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.1", known["port"]))
        other.sendto(b"udp", ("127.0.0.1", known["port"]))
        found.append(one.recv(9).decode())
    return {"met": found, "interfaces": [name for _index, name in socket.if_nameindex()]}


def leave_network(known):
    """All ways out."""
    kinds = {
        "raw": (socket.AF_INET, socket.SOCK_RAW, 1),
        "ping": (socket.AF_INET, socket.SOCK_DGRAM, 1),
        "sctp": (socket.AF_INET, socket.SOCK_STREAM, 132),
        "mptcp": (socket.AF_INET, socket.SOCK_STREAM, 262),
        "raw 6": (socket.AF_INET6, socket.SOCK_RAW, 58),
        "packet": (17, socket.SOCK_RAW, 0),
        "vsock": (40, socket.SOCK_STREAM, 0),
        "netfilter": (16, socket.SOCK_RAW, 12),
        "generic netlink": (16, socket.SOCK_RAW, 16),
        "socket list": (16, socket.SOCK_RAW, 4),
        "device events": (16, socket.SOCK_DGRAM, 15),
    }
    found = {name: outcome(socket.socket, *kind) for name, kind in kinds.items()}
    found |= {f"host {address}": outcome(connect, (address, known["everywhere"])) for address in known["addresses"]}
    return found | {
        "tcp": outcome(connect, ("127.0.0.1", known["port"])),
        "tcp 6": outcome(connect, ("::1", known["everywhere"]), socket.AF_INET6),
        "outside": outcome(connect, OUTSIDE),
        "outside, datagram": outcome(datagram, OUTSIDE),
        "broadcast": outcome(datagram, ("255.255.255.255", 9)),
        "unix": outcome(connect, known["socket"], socket.AF_UNIX),
        "abstract": outcome(connect, "\0" + known["abstract"], socket.AF_UNIX),
        "lower the loopback": outcome(lower_loopback),
        "new interface": outcome(new_interface),
    }


def host_visitor(known):
    """A datagram to the host's own port: on this loopback it is lost."""
    return {"sent": outcome(datagram, ("127.0.0.1", known["datagrams"]))}


def neighbour(known):
    """Listen on a port that every neighbour knows, and knock at the same port of addresses that are not one's own."""
    with socket.create_server(("0.0.0.0", known["meeting"])) as server:
        server.settimeout(known["seconds"])
        until = time.monotonic() + known["seconds"]
        knocks = []
        while time.monotonic() < until:
            knocks += [outcome(connect, (each, known["meeting"])) for each in known["addresses"]]
            time.sleep(0.02)
        visitors = 0
        server.setblocking(False)
        try:
            while server.accept():
                visitors += 1
        except BlockingIOError:
            return {"visitors": visitors, "knocks": sorted(set(knocks))}


other_neighbour = neighbour


def all_reduce(known):
    """Two processes of torch.distributed sum over the loopback."""
    import torch  # noqa: PLC0415 - only this act has it
    import torch.distributed as dist  # noqa: PLC0415

    reading, writing = os.pipe()
    for rank in range(2):
        if os.fork() == 0:
            dist.init_process_group("gloo", init_method="tcp://localhost:29500", rank=rank, world_size=2)
            each = torch.full((4,), float(rank + 1))
            dist.all_reduce(each)
            os.write(writing, b"%d " % int(each.sum()))
            dist.barrier()
            os._exit(0)
    codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)]
    return {"sums": os.read(reading, 99).decode().split(), "codes": codes}


def device(known):
    """What can be done with devices, by path."""
    found = {}
    for path in known["devices"]:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            found[path] = os.strerror(error.errno)
            continue
        try:
            fcntl.ioctl(descriptor, known["request"], bytearray(8))
            found[path] = "driven"
        except OSError as error:
            found[path] = f"ioctl: {os.strerror(error.errno)}"
        os.close(descriptor)
    return {"devices": found, "visible": os.environ["CUDA_VISIBLE_DEVICES"]}


def reserve(known):
    """Reserve address space without using it, as CUDA does."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    try:
        with mmap.mmap(-1, known["reserve"], flags=flags, prot=0):
            return {"reserved": True}
    except OSError:
        return {"reserved": False}
