"""The few system calls of the testbed: TUN devices and moving a process between namespaces."""

import ctypes
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from novacron.errors import NotReadyError

TUN: Final = Path("/dev/net/tun")
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
_CLONE_NEWNET: Final = 0x40000000


def open_tun(name: str) -> int:
    """Open a TUN device of that name in the current namespace; returns a non-blocking descriptor.

    Raises:
        NotReadyError: There is no /dev/net/tun, or the process may not open it.
    """
    try:
        descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
    except OSError as cause:
        raise NotReadyError(
            f"{TUN} cannot be used: {cause}.",
            remedy="Run as root on Linux with the tun module, and see `check`.",
        ) from cause
    return descriptor


def enter_namespace(name: str) -> None:
    """Move the calling thread into a named network namespace.

    Raises:
        NotReadyError: There is no such namespace, or the process may not enter it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(f"/var/run/netns/{name}", os.O_RDONLY)
    except OSError as cause:
        raise NotReadyError(f"There is no namespace {name}: {cause}.") from cause
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise NotReadyError(f"Entering namespace {name} failed: {os.strerror(code)}.")
    finally:
        os.close(descriptor)
