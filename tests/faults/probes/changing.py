"""Probes that change what is not theirs, or gain rights and namespaces to do so."""

from __future__ import annotations

from typing import Final

from tests.faults.probes.probe import Probe

CHANGING: Final = (
    Probe("events-forged", "append(M['run'] + '/events.ndjson', M['run'] + '/transcript.ndjson')"),
    Probe("home-written", "append(M['user'] + '/.bashrc', M['user'] + '/.ssh/authorized_keys')"),
    Probe(
        "minion-written",
        "append(*(M['home'] + name for name in ('/outbox/doctor/x', '/routines/x.json', '/secrets.json')))",
    ),
    Probe(
        "history-written",
        "append(*(place + name for place in M['history'] for name in ('/hooks/update', '/config', '/HEAD')))",
    ),
    Probe("skills-written", "append(*(place + '/scripts/run.py' for place in M['skills']))"),
    Probe("tool-host-written", "opens(os.O_WRONLY, *M['tool_host'])", needs="own-code"),
    Probe("python-written", "opens(os.O_WRONLY, os.__file__, sys.executable, '/usr/bin/env')", needs="root"),
    Probe("core-pattern", "opens(os.O_WRONLY, '/proc/sys/kernel/core_pattern')", needs="core-pattern"),
    Probe(
        "kernel-settings",
        "opens(os.O_WRONLY, '/proc/sysrq-trigger', '/proc/sys/vm/drop_caches', '/proc/sys/kernel/modprobe',"
        " '/proc/sys/kernel/hotplug', '/sys/fs/cgroup/cgroup.procs', '/sys/kernel/uevent_helper',"
        " '/proc/sys/fs/binfmt_misc/register', '/proc/sys/kernel/ns_last_pid')",
        needs="core-pattern",
    ),
    Probe(
        "mount",
        """
place = (M['scratch'] + '/mnt').encode()
os.makedirs(place, exist_ok=True)
if libc.mount(b'none', place, b'tmpfs', 0, None) == 0:
    reached('mount')
    libc.umount2(place, 2)
""",
        needs="cap-21",
    ),
    Probe(
        "mount-by-descriptor",
        "tree = libc.syscall(428, -100, b'/', 1)\nif tree >= 0: reached('open_tree'); os.close(tree)",
        needs="cap-21",
    ),
    Probe("chroot", "apart(lambda: tried('chroot', lambda: os.chroot(M['scratch'])))", needs="cap-18"),
    Probe(
        "device-made",
        """
place = M['scratch'] + f'/null-{os.getpid()}'
tried('mknod', lambda: (os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 3)), os.unlink(place)))
""",
        needs="cap-27",
    ),
    Probe(
        "setuid-program",
        """
for place in M['setuid']:
    tried(place, lambda: subprocess.run([place, '-u'], capture_output=True).stdout.strip() == b'0')
""",
        needs="setuid",
    ),
    Probe(
        "others-namespaces",
        """
def enter():
    for path in glob.glob('/proc/[0-9]*/ns/*'):
        if M['sandboxed'] or path.split('/')[2] == str(M['victim']) and path.endswith(('/net', '/uts', '/ipc')):
            try:
                fd = os.open(path, os.O_RDONLY)
            except OSError:
                continue
            tried(path, lambda: libc.setns(fd, 0) == 0)
            os.close(fd)
apart(enter)
""",
        needs="cap-21",
    ),
    Probe("user-namespace", "apart(lambda: tried('made', lambda: libc.unshare(0x10000000) == 0))", needs="userns"),
    Probe(
        "namespaces",
        """
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000, 0x80):
    apart(lambda: tried(hex(flag), lambda: libc.unshare(flag) == 0))
""",
        needs="cap-21",
    ),
    Probe(
        "nested-sandbox",
        "line = ['bwrap', '--unshare-user', '--unshare-net', '--ro-bind', '/', '/', 'true']\n"
        "tried('bwrap', lambda: subprocess.run(line, capture_output=True).returncode == 0)",
    ),
    Probe(
        "tool-writes",
        lines="ln -sfn @USER @REPO/out; ln -sfn @USER/.bashrc @REPO/profile",
        calls=(
            ("write", {"path": "{user}/.profile", "content": "planted"}),
            ("write", {"path": "out/.zshrc", "content": "planted"}),
            ("edit", {"path": "profile", "old": "begin", "new": "planted begin"}),
            ("write", {"path": "../../../../routines/evil.json", "content": "{}"}),
        ),
        control="plain",
    ),
    Probe(
        "shell-state-link",
        lines="mkdir -p @SCRATCH/.shell; for name in a b; do ln -sfn @USER/.bashrc @SCRATCH/.shell/$name; done",
        calls=(("bash", {"command": "PLANTED=1"}), ("bash", {"command": "true"})),
        control="plain",
    ),
    Probe(
        "poisoned-variables",
        lines=(
            "mkdir -p @SCRATCH/evil; for name in json re os file_search sitecustomize usercustomize; do"
            " echo 'open(\"@SCRATCH/ran\", \"a\").write(\"x\")' > @SCRATCH/evil/$name.py; done;"
            " echo ': > @SCRATCH/ran' > @SCRATCH/evil/env.sh; rm -f @SCRATCH/ran;"
            " export PYTHONPATH=@SCRATCH/evil PYTHONSTARTUP=@SCRATCH/evil/json.py BASH_ENV=@SCRATCH/evil/env.sh"
            " ENV=@SCRATCH/evil/env.sh PYTHONHOME= LD_LIBRARY_PATH=@SCRATCH/evil PATH=@SCRATCH/evil:$PATH"
        ),
        calls=(("read", {"path": "roof.txt"}), ("grep", {"pattern": "leaks"}), ("glob", {"pattern": "*"})),
        control="naive",
        fresh=True,
    ),
)  # fmt: skip
