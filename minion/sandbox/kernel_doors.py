"""Shuts doors of the kernel that no namespace does: its keys, and sockets that are of no network.

Only in a sandbox, by the tool host for itself and all it starts, and for good: a filter of system calls (seccomp).
A kernel that takes none is no place for a sandbox. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import struct

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, ARCH_AT, FIRST_ARGUMENT_AT = 0, 4, 16
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # DENY: EPERM
# The audit number of each, its number of keyctl (request_key and add_key stand before it) and of socket.
MACHINES = {
    "x86_64": (0xC000003E, 250, 41), "aarch64": (0xC00000B7, 219, 198), "riscv64": (0xC00000F3, 219, 198),
}  # fmt: skip
# What opens sockets, too, and passes by a filter of calls; its number is the same everywhere.
IO_URING_SETUP = 425
# The x32 calls of x86_64 begin here: the same calls under other numbers.
X32 = 0x40000000
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
FAMILIES = (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK)


def program() -> list[tuple[int, int, int, int]]:
    """The filter for this machine: (code, steps to jump if so, if not, value). `KeyError` for an unknown one."""
    arch, keyctl, socket = MACHINES[os.uname().machine]
    line = [
        # The numbers of another architecture mean other calls.
        (LOAD, 0, 0, ARCH_AT), (EQUAL, 1, 0, arch), (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT), (AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL),
    ]  # fmt: skip
    for denied in (keyctl, keyctl - 1, keyctl - 2, IO_URING_SETUP):
        line += [(EQUAL, 0, 1, denied), (RETURN, 0, 0, DENY)]
    line += [(EQUAL, 1, 0, socket), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, FIRST_ARGUMENT_AT)]
    line += [(EQUAL, len(FAMILIES) - place, 0, family) for place, family in enumerate(FAMILIES)]
    return [*line, (RETURN, 0, 0, DENY), (RETURN, 0, 0, ALLOW)]


def shut(libc: ctypes.CDLL) -> None:
    """Shut them for this process and all it starts. Raises `OSError` when the kernel takes no filter.

    On a machine whose numbers are not known here, nothing is shut.
    """
    if os.uname().machine not in MACHINES:
        return
    steps = program()
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(code, len(code))
    whole = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(held))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.c_char_p(whole), 0, 0) != 0:
        raise OSError("the kernel takes no filter of system calls")
