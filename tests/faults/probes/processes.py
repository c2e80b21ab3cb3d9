"""Probes that reach for other processes: signals, tracing, descriptors, a terminal, a life after the run."""

from __future__ import annotations

from typing import Final

from tests.faults.probes.probe import Probe

PROCESSES: Final = (
    Probe(
        "killed",
        """
for pid in (M['victim'], -M['victim']):
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError:
        pass
""",
    ),
    Probe(
        "killed-by-handle",
        """
try:
    signal.pidfd_send_signal(os.pidfd_open(M['victim']), signal.SIGTERM)
except OSError:
    pass
here, there = socket.socketpair()
try:
    fcntl.fcntl(here, fcntl.F_SETOWN, M['victim'])
    fcntl.fcntl(here, 10, signal.SIGTERM)
    fcntl.fcntl(here, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    there.send(b'x')
except OSError:
    pass
""",
    ),
    Probe(
        "traced",
        "for pid in M['targets']: tried(pid, lambda: libc.ptrace(0x4206, pid, 0, 0) == 0)",
        needs="ptrace",
    ),
    Probe(
        "memory-written",
        """
class Span(ctypes.Structure):
    _fields_ = (('base', ctypes.c_void_p), ('size', ctypes.c_size_t))
for pid in M['targets']:
    try:
        with open(f'/proc/{pid}/maps') as maps:
            start = next(int(line.split('-')[0], 16) for line in maps if ' rw-p ' in line)
    except (OSError, StopIteration):
        start = 0x400000
    held = ctypes.create_string_buffer(8)
    near, far = Span(ctypes.addressof(held), 8), Span(start, 8)
    read = libc.process_vm_readv(pid, ctypes.byref(near), 1, ctypes.byref(far), 1, 0)
    if read == 8 and libc.process_vm_writev(pid, ctypes.byref(near), 1, ctypes.byref(far), 1, 0) == 8:
        reached(pid)
""",
        needs="ptrace",
    ),
    Probe(
        "descriptor-stolen",
        """
for pid in M['targets']:
    for number in range(4):
        try:
            tried((pid, number), lambda: libc.syscall(438, os.pidfd_open(pid), number, 0) >= 0)
        except OSError:
            pass
""",
        needs="ptrace",
    ),
    Probe(
        "protocol-forged",
        """
for pid in M['targets']:
    for number in (0, 1, 2):
        place = f'/proc/{pid}/fd/{number}'
        tried(place, lambda: os.write(os.open(place, os.O_WRONLY | os.O_NONBLOCK), b'forged'))
""",
    ),
    Probe(
        "typed-into-terminal",
        "tried('tty', lambda: fcntl.ioctl(os.open('/dev/tty', os.O_RDWR), 0x5412, b'x'))",
        needs="terminal",
    ),
    Probe(
        "outlives",
        """
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    if os.fork() == 0:
        os.execvp('sleep', ['sleep', M['marker']])
    os._exit(0)
os.wait()
""",
        fresh=True,
    ),
    Probe("host-name", "tried('name', lambda: socket.sethostname(M['host_name']))", needs="cap-21"),
)  # fmt: skip
