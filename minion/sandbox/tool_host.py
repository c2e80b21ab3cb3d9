"""The process at the bottom of the sandbox: runs the commands it is asked for, NDJSON in and out.

Standard library only, few imports: each session starts one (`python -I -S`; Python and `json` are most of its
25 ms). It trusts its client and nothing that it starts. Beside it lie `tool_requests.py` and, imported by the
first call that needs it, `file_tools.py`: such a call is answered by a fork of this process, in a millisecond or
two, where another Python would take ten. Protocol: DECISIONS "Tool host".
"""

from __future__ import annotations

import binascii
import json
import os
import resource
import select
import signal
import sys
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # -I leaves it out
from tool_requests import OPS, BadRequest, checked, opened  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing for its constant would cost 3 ms of every start
    from typing import Any

VERSION = 1
PAYLOAD = 48 * 1024  # bytes of output in one line (base64 stays far below the client's limit), and of stderr's end
BACKLOG = 1024 * 1024  # bytes waiting for a slow client before the output of children is left in their pipes
PIPE_MOST = 1024 * 1024  # bytes, the most a pipe can hold for an ordinary user (pipe-max-size)
TERM_TO_KILL_S, KILL_TO_GIVING_UP_S, DRAIN_S, END_S = 0.5, 2.0, 0.2, 3.0
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
DEFAULT_AGAIN = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them, and that would be inherited
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
RUNNING = NO_PIPE = -1
KEYCTL, JOIN_SESSION_KEYRING = {"x86_64": 250, "aarch64": 219, "riscv64": 219}, 1  # libc has no wrapper
STRAYS_MOST = 256  # pipes that background processes of a shell still hold


class Job:
    """One running request: its process, the pipes to it and what is still to be done with them."""

    def __init__(self, key: int | str, pid: int, request: dict[str, Any]) -> None:
        self.key, self.pid, self.session = key, pid, request["session"]
        # The monotonic instant of the next step, though nothing is read until then.
        self.due = time.monotonic() + request["timeout_s"]
        self.allowance = request["max_bytes"]  # bytes of stdout that may still be passed on
        self.truncated = self.dropped = 0  # bytes of stdout beyond it; bytes of stderr before its end
        self.tail = self.start_error = b""  # the end of stderr, or of a session's output; why exec failed
        self.why: str | None = None  # set when the host ends the request itself
        self.forced, self.status = False, RUNNING
        self.feed, self.food = NO_PIPE, memoryview(request["stdin"])
        self.outlets: dict[int, str] = {}  # descriptor -> "stdout", "stderr" or "start" (why exec failed)


class Host:
    """The loop: one thread, every descriptor non-blocking, so that no child and no client can stop it."""

    def __init__(self, wake_fd: int) -> None:
        self.wake_fd, self.open = wake_fd, True
        self.jobs: dict[int, Job] = {}
        self.strays: list[int] = []  # read and thrown away: who prints on in the background must not die of it
        self.outgoing, self.partial = bytearray(), list[bytes]()

    def serve(self) -> None:
        """Answer requests until the client closes stdin, goes away or a signal asks for the end."""
        self.say({"ready": True, "pid": os.getpid(), "v": VERSION})
        while self.open:
            for fd, event in self.wait():
                if fd == 0:
                    self.take_requests()
                elif fd == 1:
                    self.flush(event)
                elif fd == self.wake_fd:
                    os.read(fd, 4096)
                elif fd in self.strays and not os.read(fd, PAYLOAD):
                    self.strays.remove(fd)
                    os.close(fd)
                for job in self.jobs.values():
                    if fd == job.feed:
                        self.feed(job, fd)
                    elif fd in job.outlets:
                        self.collect(job, fd)
            self.reap()
            for job in list(self.jobs.values()):
                self.advance(job, time.monotonic())

    def wait(self) -> list[tuple[int, int]]:
        """The descriptors that are ready, at the latest when the next job is due."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self.wake_fd, select.POLLIN)
        for fd in self.strays:
            poll.register(fd, select.POLLIN)
        # Without output to write only the client's going away is of interest, which poll reports unasked.
        poll.register(1, select.POLLOUT if self.outgoing else 0)
        for job in self.jobs.values():
            for fd in job.outlets if len(self.outgoing) < BACKLOG else ():
                poll.register(fd, select.POLLIN)
            if job.feed != NO_PIPE:
                poll.register(job.feed, select.POLLOUT)
        left = min((job.due for job in self.jobs.values()), default=1e9) - time.monotonic()
        return poll.poll(min(max(0.0, left) * 1000 + 1, 3_600_000))

    def take_requests(self) -> None:
        """Read what the client sent and handle every complete line of it."""
        chunk = os.read(0, 1024 * 1024)
        self.open = self.open and bool(chunk)
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            self.handle(b"".join([*self.partial, piece]))
            self.partial = []
        self.partial.append(rest)

    def handle(self, line: bytes) -> None:
        """Carry out one request, or answer why not; a request can never end the host."""
        key: int | str | None = None
        try:
            request, key = opened(line)
            running = next((job for job in self.jobs.values() if job.key == key), None)
            if request.get("op") == "kill":
                # A kill may cross the end of its request on the way, so that an unknown id is no fault.
                if running is not None and running.status == RUNNING and running.why is None:
                    self.stop(running, "killed")
            elif request.get("op") not in OPS:
                raise BadRequest(f"op must be one of {', '.join(OPS)}")
            elif running is not None:
                key = None  # an answer under this id would end the request that really runs
                raise BadRequest("this id is already running")
            else:
                self.start(key, checked(request))
        except BadRequest as wrong:
            self.answer(key, None, str(wrong))
        except OSError as failure:
            self.answer(key, None, f"could not start: {failure.strerror}")

    def say(self, message: dict[str, Any]) -> None:
        """Queue one message for the client."""
        line = json.dumps(message, default=lambda body: binascii.b2a_base64(body, newline=False).decode())
        self.outgoing += line.encode() + b"\n"

    def answer(self, key: int | str | None, code: int | None, why: str | None, job: Job | None = None) -> None:
        """Queue the last message of a request: `why` is said whenever there is no exit code."""
        cut = {"truncated": job.truncated if job else 0, "dropped": job.dropped if job else 0}
        self.say({"id": key, "exit": code, **cut, **({} if why is None else {"why": why[:300]})})

    def flush(self, event: int) -> None:
        """Write what the client takes now."""
        self.open = self.open and not event & ~select.POLLOUT
        try:
            del self.outgoing[: os.write(1, self.outgoing[: 64 * 1024])]
        except OSError as failure:
            self.open = self.open and isinstance(failure, BlockingIOError)

    def start(self, key: int | str, request: dict[str, Any]) -> None:
        """Start the request's process in a session of its own; raises `BadRequest` or `OSError` if it cannot."""
        fds: list[int] = []
        try:
            for _ in range(4):
                fds += os.pipe()
            out, out_w, err, err_w, stdin, feed, fault, fault_w = fds
            stdio = (stdin, out_w, err_w)
            pid = forked(request, stdio, fault_w) if "call" in request else spawned(request, stdio)
        except (OSError, BadRequest):
            for fd in fds:
                os.close(fd)
            raise
        for theirs, ours in ((stdin, feed), (out_w, out), (err_w, err), (fault_w, fault)):
            os.close(theirs)
            os.set_blocking(ours, False)
        job = self.jobs[pid] = Job(key, pid, request)
        job.outlets, job.feed = {out: "stdout", err: "stderr", fault: "start"}, feed

    def feed(self, job: Job, fd: int) -> None:
        """Give the child more of its stdin, and its end."""
        try:
            job.food = job.food[os.write(fd, job.food[: 256 * 1024]) :] if job.food else job.food
        except BlockingIOError:
            return
        except OSError:  # the child reads no more: what it ignores is no failure
            job.food = memoryview(b"")
        if not job.food:
            os.close(fd)
            job.feed = NO_PIPE

    def collect(self, job: Job, fd: int) -> int:
        """Take one portion from a child's pipe and return its size; 0 when it is empty or closed."""
        try:
            portion = os.read(fd, PAYLOAD)
        except BlockingIOError:
            return 0
        stream = job.outlets[fd]
        if not portion:
            del job.outlets[fd]
            os.close(fd)
        elif stream == "start":
            job.start_error += portion
        else:
            room = job.allowance if stream == "stdout" else 0
            kept, rest = portion[:room], portion[room:]
            if kept:
                job.allowance -= len(kept)
                self.say({"id": job.key, "stream": stream, "b64": kept})
            if stream == "stderr" or job.session:  # told at the end: what stands last is why a command failed
                job.dropped += max(0, len(job.tail) + len(rest) - PAYLOAD)
                job.tail = (job.tail + rest)[-PAYLOAD:]
            else:
                job.truncated += len(rest)
        return len(portion)

    def stop(self, job: Job, why: str) -> None:
        """Ask the request's process group to end; `advance` forces it half a second later."""
        job.why, job.due = why, time.monotonic() + TERM_TO_KILL_S
        send(job.pid, signal.SIGTERM, group=True)

    def reap(self) -> None:
        """Take in every ended child, adopted ones included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if job := self.jobs.get(pid):
                job.status, job.due = status, time.monotonic() + DRAIN_S
                if job.why is not None:  # what is left of its group, now: later the number could be another's
                    send(pid, signal.SIGKILL, group=True)

    def advance(self, job: Job, now: float) -> None:
        """Finish, time out or force one job."""
        if job.status != RUNNING and not job.outlets:
            self.finish(job)
        elif now < job.due:
            return
        elif job.status != RUNNING or job.forced:
            self.finish(job)  # forced and still there: stuck in the kernel, and nobody waits for that
        elif job.why is None:
            self.stop(job, "timeout")
        else:
            job.forced, job.due = True, now + KILL_TO_GIVING_UP_S
            send(job.pid, signal.SIGKILL, group=True)

    def finish(self, job: Job) -> None:
        """Take what lies in the pipes, close them and answer: whoever else holds them is not waited for."""
        for fd in list(job.outlets):
            taken = 0
            while taken < PIPE_MOST and (portion := self.collect(job, fd)):
                taken += portion
        if job.session and job.why is None:
            self.strays += [fd for fd, stream in job.outlets.items() if stream != "start"]
        for fd in {*job.outlets, job.feed, *self.strays[:-STRAYS_MOST]} - {NO_PIPE, *self.strays[-STRAYS_MOST:]}:
            os.close(fd)
        del self.jobs[job.pid], self.strays[:-STRAYS_MOST]
        code, why = None, job.why or job.start_error.decode("utf-8", "replace") or None
        if why is None:
            code = os.waitstatus_to_exitcode(job.status)
            code, why = (code, None) if code >= 0 else (None, f"signal {-code}")
        if job.tail:
            self.say({"id": job.key, "stream": "stderr", "b64": job.tail})
        self.answer(job.key, code, why, job)

    def end(self) -> None:
        """Kill everything that was started, in bounded time; as process 1 the kernel does it at the exit."""
        me, until = os.getpid(), time.monotonic() + END_S
        while me != 1 and time.monotonic() < until:
            self.reap()
            left = {*descendants(me), *(pid for pid, job in self.jobs.items() if job.status == RUNNING)}
            if not left:
                return
            for pid in left:
                send(pid, signal.SIGKILL, group=pid in self.jobs)
            select.select([self.wake_fd], [], [], 0.01)


def spawned(request: dict[str, Any], stdio: tuple[int, int, int]) -> int:
    """Start a command in its folder; raises `BadRequest` saying why it cannot be.

    Not by a fork, which would copy this process first: a tenth of the work, and no memory for a moment's twin.
    """
    program, what = request["argv"][0], request["cwd"]
    folders = [b""] if b"/" in program else request["env"].get(b"PATH", os.defpath.encode()).split(b":")
    places = [os.path.join(folder, program) for folder in folders]  # noqa: PTH118
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(stdio)]
    try:
        os.chdir(what)  # one thread: nobody else is there to notice
        what = program
        place = next((place for place in places if os.access(place, os.X_OK)), places[-1])
        return os.posix_spawn(
            place, request["argv"], request["env"], file_actions=actions, setsid=True, setsigdef=DEFAULT_AGAIN
        )
    except (FileNotFoundError, NotADirectoryError):
        raise BadRequest("not found: " + what.decode("utf-8", "replace")) from None
    except OSError as failure:
        raise BadRequest(f"could not start {what.decode('utf-8', 'replace')}: {failure.strerror}") from None
    finally:
        os.chdir("/")


def forked(request: dict[str, Any], stdio: tuple[int, int, int], fault: int) -> int:
    """Fork a process that answers a call of the file tools and ends; through `fault` it says why it could not."""
    tools = __import__("file_tools")
    pid = os.fork()
    if pid == 0:
        tools.reply_and_end(request, stdio, fault)
    return pid


def send(pid: int, number: int, *, group: bool) -> None:
    """Signal a process group or one process; one that is gone, or may not be signalled, is left alone."""
    try:
        (os.killpg if group else os.kill)(pid, number)
    except OSError as failure:
        if group and isinstance(failure, ProcessLookupError):  # it has not come to its setsid yet, and leads none
            send(pid, number, group=False)


def descendants(root: int) -> list[int]:
    """The living processes below `root`, from /proc; none on systems without it."""
    children: dict[int, list[int]] = {}
    entries = os.scandir("/proc") if sys.platform == "linux" else ()
    for pid in [int(entry.name) for entry in entries if entry.name.isdigit()]:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # pathlib is slow to import
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state not in b"ZX":
            children.setdefault(int(parent), []).append(pid)
    found, below = [], [root]
    while below:
        below += (step := children.pop(below.pop(), []))
        found += step
    return found


def bind_to_parent(parent: int | None) -> bool:
    """On Linux: end with the parent, adopt orphans, be closed to the children; False when it is gone.

    As process 1 of a pid namespace the parent's end kills outright. Elsewhere it asks (SIGTERM): a killed host
    kills nothing. Not dumpable: a child of the same user can then neither trace the host nor open its pipes in
    /proc. Namespaces do not hide the session keyring: a new one.
    """
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL if os.getpid() == 1 else signal.SIGTERM, 0, 0, 0)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        if os.uname().machine in KEYCTL:
            libc.syscall(KEYCTL[os.uname().machine], JOIN_SESSION_KEYRING, None)
        if os.getpid() == 1:
            __import__("kernel_doors").shut(libc)
    return parent is None or os.getppid() == parent


def main() -> None:
    """Serve until the end. `--parent PID`: the client, in case it died before the binding; `--limits N=MOST,…`."""
    said = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    for number, most in [map(int, pair.split("=")) for pair in said.get("--limits", "").split(",") if pair]:
        resource.setrlimit(number, (most, most))
    wake = os.pipe()
    for fd in (*wake, 1):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    host = Host(wake[0])
    # Process 1 gets only signals it has handlers for, and Python brings one: without, no child can end it.
    handler = signal.SIG_DFL if os.getpid() == 1 else lambda _number, _frame: setattr(host, "open", False)
    for number in ENDING:
        signal.signal(number, handler)
    try:
        if bind_to_parent(int(said["--parent"]) if "--parent" in said else None):
            host.serve()
    finally:
        host.end()
    os._exit(0)


if __name__ == "__main__":
    main()
