"""Three hosts in network namespaces of their own, joined by a switch: nothing leaves them.

The namespaces have no names: each exists as long as the process that holds it, so none can stay.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.services.guard import Daemons, service

PROGRAMS = ("ip", "unshare", "nsenter")
HOSTS = ("hS", "hA", "hB")


class Network:
    """The hosts, each with one address."""

    def __init__(self, daemons: Daemons) -> None:
        self._daemons = daemons
        self._holders = {
            name: daemons.start(name, "unshare", "--net", "sleep", "infinity")
            for name in ("switch", *HOSTS)
        }

    def prefix(self, host: str) -> tuple[str, ...]:
        """What stands before a command, to run it on a host."""
        return ("nsenter", f"--net=/proc/{self._holders[host]}/ns/net", "--")

    def address(self, host: str) -> str:
        """The address of a host."""
        return f"10.99.0.{HOSTS.index(host) + 1}"

    def cut(self, host: str) -> None:
        """Pull a host's cable: what is sent is lost, and nobody is told."""
        self._ip("switch", f"link set port{host} down")

    def mend(self, host: str) -> None:
        """Plug the cable in again."""
        self._ip("switch", f"link set port{host} up")

    def form(self) -> None:
        """Lay the cables."""
        self._daemons.wait_until(self._apart, "apart")
        self._ip("switch", "link add bridge0 type bridge")
        self._ip("switch", "link set bridge0 up")
        for host in HOSTS:
            holder = self._holders[host]
            self._ip("switch", f"link add port{host} type veth peer name eth0 netns {holder}")
            self._ip("switch", f"link set port{host} master bridge0 up")
            self._ip(host, "link set lo up")
            self._ip(host, f"addr add {self.address(host)}/24 dev eth0")
            self._ip(host, "link set eth0 up")

    def _ip(self, host: str, command: str) -> None:
        self._daemons.do(*self.prefix(host), "ip", *command.split())

    def _apart(self) -> bool:
        """Whether every holder is in a namespace of its own by now."""
        processes = ("self", *self._holders.values())
        namespaces = {Path(f"/proc/{process}/ns/net").readlink() for process in processes}
        return len(namespaces) == len(processes)


@contextlib.contextmanager
def running_network() -> Iterator[Network]:
    """Make the hosts, and let them go."""
    with service("network") as daemons:
        network = Network(daemons)
        network.form()
        yield network
