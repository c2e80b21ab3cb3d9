"""What a command inside the sandbox cannot see, reach, change or outlive; needs a bubblewrap that starts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from secrets import randbelow

import pytest

from minion.sandbox.bubblewrap import Bind, Envelope
from minion.sandbox.tool_client import ToolResult
from tests.minion.tool_hosts import DAEMON, PATHS, PYTHON, ROOT, open_host, running_with
from tests.waiting import wait_until


def why_no_sandbox() -> str | None:
    """Why bubblewrap cannot start here, in its own words; None when it can."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bwrap is not installed"
    probe = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(probe, capture_output=True, check=False, timeout=20)
    return None if done.returncode == 0 else f"bwrap cannot start here: {done.stderr.decode()[:200]}"


WHY_NOT = why_no_sandbox()
pytestmark = [pytest.mark.heavy, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


def inside(folder: Path, *argv: str, envelope: Envelope | None = None) -> ToolResult:
    """Run one command in a sandbox of its own."""

    async def story() -> ToolResult:
        async with open_host(folder, envelope, sandboxed=True) as host:
            return await host.run(argv, cwd="/", timeout_s=30, max_bytes=1024 * 1024)

    return asyncio.run(story())


def python(folder: Path, code: str, *args: str, envelope: Envelope | None = None) -> str:
    """What Python code prints inside a sandbox; it must end well."""
    result = inside(folder, PYTHON, "-I", "-c", code, *args, envelope=envelope)
    assert (result.exit, result.why) == (0, None), result.stderr.decode()
    return result.stdout.decode().strip()


def marker() -> str:
    """A number of seconds that no other process of this machine sleeps."""
    return f"{10_000 + randbelow(80_000)}.{randbelow(10**9):09}"


CONNECT = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close()
except OSError as failure:
    print(type(failure).__name__)
else:
    print("connected")
"""


def test_the_host_s_loopback_is_out_of_reach(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        assert python(tmp_path, CONNECT, port) == "ConnectionRefusedError"


def test_localhost_is_the_sandbox_s_own(tmp_path: Path) -> None:
    code = "import socket; print(*sorted({item[4][0] for item in socket.getaddrinfo('localhost', 1)}))"
    assert set(python(tmp_path, code).split()) <= {"127.0.0.1", "::1"}


def test_an_abstract_socket_of_the_host_is_out_of_reach(tmp_path: Path) -> None:
    name = f"\0minion-{marker()}"
    code = "import socket, sys\nprint(socket.socket(socket.AF_UNIX).connect_ex('\\0' + sys.argv[1]))"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        assert python(tmp_path, code, name[1:]) == "111"


def test_only_the_interface_of_the_sandbox_exists(tmp_path: Path) -> None:
    assert python(tmp_path, "import socket; print([name for _, name in socket.if_nameindex()])") == "['lo']"


def test_the_home_folder_shadow_and_other_files_of_the_host_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    code = """
import os, sys
for path in sys.argv[1:]:
    print(path, os.path.exists(path))
"""
    paths = [str(tmp_path / "secret"), "/etc/shadow", "/etc/machine-id", "/sys/class", "/dev/sda", "/dev/vda"]
    answer = python(tmp_path, code, *paths, str(ROOT / "pyproject.toml"))
    assert [line.split()[1] for line in answer.splitlines()] == ["False"] * 7
    # A Python that lies in the home folder is seen, and nothing beside it.
    listing = "import glob, sys; print(len(glob.glob(sys.argv[1] + '/*') + glob.glob(sys.argv[1] + '/.*')))"
    own = 1 if Path.home() in Path(PYTHON).parents else 0
    assert python(tmp_path, listing, str(Path.home())) == str(own)


def test_the_environment_inside_is_the_envelope_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINION_CANARY", "canary-in-the-parent")
    code = """
import glob, os
os.environ.pop("LC_CTYPE", None)  # Python's own
print(sorted(os.environ.items()))
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        text = open(path, "rb").read()
    except OSError:
        continue
    assert b"canary-in-" + b"the-parent" not in text, path
"""
    assert python(tmp_path, code, envelope=Envelope(env={"A": "1"})) == "[('A', '1')]"


def test_proc_shows_only_the_processes_of_the_sandbox(tmp_path: Path) -> None:
    code = "import os; print([n for n in os.listdir('/proc') if n.isdigit()] == ['1', str(os.getpid())])"
    assert python(tmp_path, code) == "True"


def test_everything_but_the_scratch_folders_is_read_only_whoever_we_are_outside(tmp_path: Path) -> None:
    """To /proc/sys the host's root is root behind any mapping: core_pattern would be an escape."""
    code = """
import json, os
writable = set()
for folder, below, names in os.walk("/"):
    if folder == "/proc":
        below[:] = ["sys", "fs", "irq", "bus"]
    for path in [folder + "/.probe", *(folder + "/" + name for name in names)]:
        masked = folder == "/proc" and os.path.exists(path) and os.stat(path).st_rdev == os.makedev(1, 3)
        if os.path.islink(path) or masked: continue
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            continue
        if path.endswith("/.probe"):
            os.unlink(path)
            path = folder
        writable.add(path)
print(json.dumps(sorted(writable)))
"""
    scratch = {"/home", "/root", "/run", "/tmp", "/var", "/dev/shm"}
    devices = {f"/dev/{name}" for name in ("full", "null", "random", "urandom", "zero", "pts/ptmx")}
    found = set(json.loads(python(tmp_path, code)))
    assert scratch <= found
    # The way to a Python that lies in a home folder is made of empty folders of the scratch there.
    way = {str(folder) for folder in Path(sys.base_prefix).parents}
    assert found - scratch - devices - way == set()


def test_the_command_is_nobody_without_capabilities_or_a_way_to_more(tmp_path: Path) -> None:
    text = python(tmp_path, "print(open('/proc/self/status').read())")
    status = dict(line.split(":", 1) for line in text.splitlines())
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert status["NoNewPrivs"].strip() == "1"


def test_no_further_user_namespace_can_be_made(tmp_path: Path) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))"
    assert python(tmp_path, code) == "-1"
    if shutil.which("unshare"):
        assert inside(tmp_path, "unshare", "-U", "true").exit != 0


def test_the_command_has_its_own_host_name_and_mount_table(tmp_path: Path) -> None:
    assert inside(tmp_path, "uname", "-n").stdout == b"minion\n"
    code = "import ctypes; print(ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None))"
    assert python(tmp_path, code) == "-1"


def workspace(folder: Path) -> Envelope:
    """A writable and a read-only folder of the host."""
    (folder / "work").mkdir()
    (folder / "history").mkdir()
    work = Bind(str(folder / "work"), "/workspace", writable=True)
    return Envelope(binds=(work, Bind(str(folder / "history"), "/history")), env=PATHS)


def test_a_writable_bind_can_be_written_and_a_read_only_one_cannot(tmp_path: Path) -> None:
    envelope = workspace(tmp_path)
    script = "echo mine > /workspace/a; echo mine > /history/a"
    result = inside(tmp_path, "sh", "-c", script, envelope=envelope)
    assert result.exit != 0
    assert b"Read-only file system" in result.stderr
    assert (tmp_path / "work/a").read_text() == "mine\n"
    assert list((tmp_path / "history").iterdir()) == []


def test_a_bind_below_a_scratch_folder_survives(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("here")
    envelope = Envelope(binds=(Bind(str(tmp_path), "/home/minion/deep"),), env=PATHS)
    assert inside(tmp_path, "cat", "/home/minion/deep/a", envelope=envelope).stdout == b"here"


def test_masks_hide_a_folder_and_a_file_and_the_host_s_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "work/.claude").mkdir(parents=True)
    (tmp_path / "work/.claude/settings.json").write_text("hostile")
    (tmp_path / "work/.mcp.json").write_text("hostile")
    envelope = Envelope(
        binds=(Bind(str(tmp_path / "work"), "/workspace", writable=True),),
        masks=(("dir", "/workspace/.claude"), ("file", "/workspace/.mcp.json")),
        env=PATHS,
    )
    script = "ls -A .claude; cat .mcp.json; echo x > .claude/x; echo x > .mcp.json; rm -rf .[cm]*; ls -A"
    result = inside(tmp_path, "sh", "-c", f"cd /workspace; {script}", envelope=envelope)
    assert result.stdout == b".claude\n.mcp.json\n"
    assert (tmp_path / "work/.claude/settings.json").read_text() == "hostile"
    assert (tmp_path / "work/.mcp.json").read_text() == "hostile"
    assert [path.name for path in (tmp_path / "work/.claude").iterdir()] == ["settings.json"]


def test_a_symlink_in_the_workspace_leads_nowhere_outside(tmp_path: Path) -> None:
    envelope = workspace(tmp_path)
    (tmp_path / "secret").write_text("canary")
    (tmp_path / "work/link").symlink_to(tmp_path / "secret")
    (tmp_path / "work/up").symlink_to("../../../../../../" + str(tmp_path / "secret"))
    result = inside(tmp_path, "cat", "/workspace/link", "/workspace/up", envelope=envelope)
    assert (result.exit, result.stdout) == (1, b"")


def test_the_scratch_folders_have_an_end(tmp_path: Path) -> None:
    script = "for f in /tmp/big /dev/shm/big; do head -c 300000000 /dev/zero > $f; done; wc -c /tmp/big"
    result = inside(tmp_path, "sh", "-c", script, envelope=Envelope(env=PATHS))
    assert result.stderr.count(b"No space left on device") == 2
    assert result.stdout == b"268435456 /tmp/big\n"


def test_the_tool_host_can_be_neither_read_traced_signalled_nor_spoken_for(tmp_path: Path) -> None:
    code = """
import ctypes, os, signal
for name in ("environ", "mem", "fd/0", "fd/1", "fd/2", "root/etc"):
    try:
        os.close(os.open("/proc/1/" + name, os.O_RDWR if name != "root/etc" else os.O_RDONLY))
        print("opened", name)
    except OSError:
        pass
if ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0:
    print("attached")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP, signal.SIGKILL):
    os.kill(1, number)
print("tried")
"""

    async def story() -> tuple[ToolResult, ToolResult]:
        async with open_host(tmp_path, sandboxed=True) as host:
            first = await host.run([PYTHON, "-I", "-c", code], cwd="/", timeout_s=20, max_bytes=1000)
            return first, await host.run(["true"], cwd="/", timeout_s=20, max_bytes=10)

    first, second = asyncio.run(story())
    assert (first.exit, first.stdout) == (0, b"tried\n")
    assert second.exit == 0


KEYS = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
keyctl = {"x86_64": 250, "aarch64": 219, "riscv64": 219}[os.uname().machine]
def search():
    return libc.syscall(keyctl, 10, -3, b"user", b"minion-canary", 0)
"""
KEEPER = """
import asyncio, pathlib
from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.tool_client import ToolHost
libc.syscall(keyctl, 1, None)
if libc.syscall(keyctl - 2, b"user", b"minion-canary", b"canary", 6, -3) < 0 or search() < 0:
    sys.exit("no keyrings")
async def story():
    host = await ToolHost.start(Envelope(), sandboxed=True, log_path=pathlib.Path(sys.argv[1]))
    argv = [sys.argv[2], "-I", "-c", sys.argv[3] + "print(search())"]
    print((await host.run(argv, cwd="/", timeout_s=20, max_bytes=100)).stdout.decode())
    await host.close()
asyncio.run(story())
"""


def test_the_session_keyring_of_the_parent_is_not_lent(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", KEYS + KEEPER, str(tmp_path / "log"), PYTHON, KEYS]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    if "no keyrings" in done.stderr:
        pytest.skip("this kernel keeps no keys")
    assert done.stdout.strip() == "-1", done.stderr


TERMINAL = """
import asyncio, os, pathlib, pty, sys
from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.tool_client import ToolHost
keep, name = pty.openpty()
os.open(os.ttyname(name), os.O_RDWR)
os.close(os.open("/dev/tty", os.O_RDWR))
PROBE = '''
import fcntl, os
try:
    tty = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(tty, 0x5412, b"x")
    print("typed")
except OSError:
    print("no terminal")
'''
async def story():
    host = await ToolHost.start(Envelope(), sandboxed=True, log_path=pathlib.Path(sys.argv[1]))
    argv = [sys.argv[2], "-I", "-c", PROBE]
    print((await host.run(argv, cwd="/", timeout_s=20, max_bytes=100)).stdout.decode())
    await host.close()
asyncio.run(story())
"""


def test_nothing_can_be_typed_into_the_terminal_of_the_one_who_started_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", TERMINAL, str(tmp_path / "log"), PYTHON]
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60, start_new_session=True
    )
    assert done.stdout.strip() == "no terminal", done.stderr


def test_a_daemon_inside_dies_when_the_host_is_closed(tmp_path: Path) -> None:
    seconds = marker()

    async def story() -> None:
        async with open_host(tmp_path, sandboxed=True) as host:
            await host.run([PYTHON, "-I", "-c", DAEMON, seconds], cwd="/", timeout_s=20, max_bytes=100)
            assert running_with(seconds)

    asyncio.run(story())
    assert wait_until(lambda: not running_with(seconds), 5)


CLIENT = """
import asyncio, pathlib, sys
from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.tool_client import ToolHost
async def story():
    host = await ToolHost.start(Envelope(), sandboxed=True, log_path=pathlib.Path(sys.argv[1]))
    await host.run(sys.argv[2:], cwd="/", timeout_s=30, max_bytes=100)
    print(host.pid, flush=True)
    await host.run(["/bin/sleep", sys.argv[-1]], cwd="/", timeout_s=600, max_bytes=100)
asyncio.run(story())
"""


def test_everything_inside_dies_when_the_client_is_killed(tmp_path: Path) -> None:
    seconds = marker()
    argv = [sys.executable, "-c", CLIENT, str(tmp_path / "log"), PYTHON, "-I", "-c", DAEMON, seconds]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as client:
        assert client.stdout is not None
        assert client.stdout.readline()
        assert len(running_with(seconds)) >= 2
        client.kill()
    assert wait_until(lambda: not running_with(seconds), 5)


ORDINARY_USER = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[1])
from minion.sandbox.bubblewrap import Bind, Envelope
from minion.sandbox.tool_client import ToolHost
async def story():
    binds = (Bind(sys.argv[2], "/workspace", writable=True),)
    log = pathlib.Path(sys.argv[2]) / "log"
    host = await ToolHost.start(Envelope(binds, env={"PATH": "/usr/bin:/bin"}), sandboxed=True, log_path=log)
    script = "id -u; echo mine > a; unshare -U true || grep CapEff /proc/self/status; echo 0 > /usr/x"
    result = await host.run(["sh", "-c", script], cwd="/workspace", timeout_s=20, max_bytes=1000)
    print(result.stdout.decode(), result.exit)
    await host.close()
asyncio.run(story())
"""


def test_an_ordinary_user_can_start_it_too(tmp_path: Path) -> None:
    if os.getuid() != 0 or not shutil.which("setpriv") or not Path("/usr/bin/python3").exists():
        pytest.skip("needs root to step down from, setpriv and the system's Python")
    ask = ("/usr/bin/python3", "-c", "import sys; sys.exit(sys.version_info < (3, 11))")
    if subprocess.run(ask, check=False).returncode:
        pytest.skip("the system's Python is older than 3.11")
    (folder := Path("/var/tmp") / f"minion-test-{marker()}").mkdir()
    os.chown(folder, 65534, 65534)
    try:
        step_down = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        argv = [*step_down, *ask[:1], "-B", "-I", "-c", ORDINARY_USER, str(ROOT), str(folder)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout.split() == ["65534", "CapEff:", "0" * 16, "2"], done.stderr
        assert (folder / "a").read_text() == "mine\n"
    finally:
        shutil.rmtree(folder)
