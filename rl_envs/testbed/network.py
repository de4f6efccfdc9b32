"""Two namespaces joined by the emulator, for the length of a `with` block."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from novacron.errors import NotReadyError
from rl_envs.testbed.channel import ChannelConfig
from rl_envs.testbed.emulator import EmulatorConfig

ADDRESSES: Final = ("10.77.0.1", "10.77.0.2")
DEVICE: Final = "nclink0"
COMMAND_S: Final = 60.0
_NUMBERS: Final = itertools.count()
"""Several links of one process stand side by side; each has namespaces of its own."""

# Runs must not learn from each other, and the device's own queue must never be the bottleneck.
_SYSCTLS: Final = {
    "net.ipv4.tcp_no_metrics_save": "1",
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv4.tcp_rmem": "4096 131072 67108864",
    "net.ipv4.tcp_wmem": "4096 131072 67108864",
}


@dataclass(kw_only=True)
class Network:
    """A running link: names of both namespaces, and the emulator's counters once it has ended."""

    sender: str
    receiver: str
    counters: dict[str, Any] = field(default_factory=dict)


def run(command: Sequence[str]) -> str:
    """Run a system command to its end and return what it printed.

    Raises:
        NotReadyError: It failed, is not installed, or took too long.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own commands, no shell
            command, capture_output=True, text=True, check=True, timeout=COMMAND_S
        )
    except (OSError, subprocess.SubprocessError) as cause:
        detail = getattr(cause, "stderr", "") or str(cause)
        raise NotReadyError(
            f"`{' '.join(command)}` failed: {str(detail).strip()}.",
            remedy="The testbed needs root and iproute2; see `check`.",
        ) from cause
    return done.stdout


def missing() -> list[str]:
    """Return what this machine lacks for the testbed, in words; empty when it can run."""
    lacks = []
    if not sys.platform.startswith("linux"):
        return ["Linux"]
    if os.geteuid() != 0:
        lacks.append("root")
    if not Path("/dev/net/tun").exists():
        lacks.append("/dev/net/tun")
    if not any((Path(folder) / "ip").exists() for folder in ("/usr/sbin", "/sbin", "/usr/bin")):
        lacks.append("iproute2 (the command ip)")
    known = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
    names = known.read_text().split() if known.exists() else []
    lacks += [
        f"congestion control {name}" for name in ("cubic", "reno", "bbr") if name not in names
    ]
    return lacks


def _remove(namespace: str) -> None:
    with suppress(NotReadyError):
        run(["ip", "netns", "del", namespace])


def _stop(emulator: "subprocess.Popen[str]", network: Network) -> None:
    """Ask the emulator to end and read its counters; it is killed if it does not."""
    try:
        output, _ = emulator.communicate(timeout=15)
        lines = output.strip().splitlines()
        network.counters = json.loads(lines[-1]) if lines else {}
    except subprocess.TimeoutExpired:
        emulator.kill()
        emulator.communicate()


def _configure(namespace: str, local: str, remote: str) -> None:
    inside = ["ip", "netns", "exec", namespace]
    run(["ip", "-n", namespace, "link", "set", "lo", "up"])
    run(["ip", "-n", namespace, "addr", "add", local, "peer", remote, "dev", DEVICE])
    run(["ip", "-n", namespace, "link", "set", DEVICE, "txqueuelen", "20000", "mtu", "1500", "up"])
    for name, value in _SYSCTLS.items():
        run([*inside, "sysctl", "-qw", f"{name}={value}"])


@contextmanager
def emulated_network(forward: ChannelConfig, backward: ChannelConfig) -> Iterator[Network]:
    """Build the link; every namespace and process is gone when the block ends, however it ends.

    Raises:
        NotReadyError: The machine lacks something; the message says what.
    """
    lacks = missing()
    if lacks:
        raise NotReadyError(
            f"The testbed cannot run here: no {', no '.join(lacks)}.",
            remedy="Use a Linux machine as root; everything else works without it.",
        )
    label = f"{os.getpid()}-{next(_NUMBERS)}"
    names = (f"nc-send-{label}", f"nc-recv-{label}")
    network = Network(sender=names[0], receiver=names[1])
    config = EmulatorConfig(namespaces=names, device=DEVICE, forward=forward, backward=backward)
    with ExitStack() as cleanup:
        for name in names:
            run(["ip", "netns", "add", name])
            cleanup.callback(_remove, name)
        emulator = subprocess.Popen(
            [sys.executable, "-m", "rl_envs.testbed.emulator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        cleanup.callback(_stop, emulator, network)
        if emulator.stdin is None or emulator.stdout is None:
            raise NotReadyError("The emulator has no pipes.")
        emulator.stdin.write(config.model_dump_json() + "\n")
        emulator.stdin.flush()
        if emulator.stdout.readline() != "ready\n":
            raise NotReadyError("The emulator ended before the link stood.")
        _configure(names[0], *ADDRESSES)
        _configure(names[1], *ADDRESSES[::-1])
        yield network
