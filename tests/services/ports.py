"""Ports of loopback that nobody listens on."""

import contextlib
import os
import socket


def free_ports(number: int) -> list[int]:
    """So many different free ports.

    They are below the range from which the kernel takes the ports of outgoing connections, so that
    a daemon finds its port still free, also when it is stopped for a while.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in range(_start(), 32000):
            candidate = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == number:
                return found
    raise RuntimeError("no free ports")


def _start() -> int:
    """Where to look first: elsewhere in every process, as two may look at the same time."""
    return 12000 + os.getpid() * 37 % 15000
