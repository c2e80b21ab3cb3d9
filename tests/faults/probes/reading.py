"""Probes that read what a session must not know: files, memory, variables, keys."""

from __future__ import annotations

from typing import Final

from tests.faults.probes.probe import Probe

READING: Final = (
    Probe(
        "home-keys",
        "show(*(M['user'] + '/' + name for name in ('.ssh/id_ed25519', '.aws/credentials', '.netrc')))",
    ),
    Probe(
        "root-folder", "tried('/root', lambda: bool({*os.listdir('/root')} - {*M['way']}))", needs="root-files"
    ),
    Probe("shadow", "opens(os.O_RDONLY, '/etc/shadow', '/etc/gshadow', '/etc/sudoers')", needs="root"),
    Probe("private-git", "show(M['run'] + '/git/shop.git/canary', M['run'] + '/git/shop.git/config')"),
    Probe("events", "show(M['run'] + '/events.ndjson')"),
    Probe("transcript", "show(M['run'] + '/transcript.ndjson')"),
    Probe("secrets-file", "show(M['home'] + '/secrets.json')"),
    Probe("store", "show(M['home'] + '/minion.db', M['home'] + '/minion.db-wal')"),
    Probe("other-run", "show(*glob.glob(M['home'] + '/runs/*/workspace/*/*', include_hidden=True))"),
    Probe(
        "climbing",
        "show(*('../' * up + 'secrets.json' for up in range(20)), M['repo'] + '/../../../../secrets.json')",
    ),
    Probe(
        "links",
        """
for number, target in enumerate((M['home'] + '/secrets.json', '../../../../secrets.json')):
    name = M['repo'] + f'/to-{number}-{os.getpid()}'
    os.symlink(target, name)
    show(name)
""",
    ),
    Probe(
        "proc-root",
        "show(*(f'/proc/{pid}/{way}' for pid in [*OTHERS, 'self'] for way in"
        " ('root' + M['home'] + '/secrets.json', 'cwd/secrets.json',"
        " 'task/' + pid + '/root' + M['home'] + '/secrets.json')))",
    ),
    Probe("proc-environ", "show(*(f'/proc/{pid}/environ' for pid in OTHERS))"),
    Probe("proc-cmdline", "show(*(f'/proc/{pid}/cmdline' for pid in OTHERS))"),
    Probe(
        "proc-fd",
        """
for path in glob.glob('/proc/[0-9]*/fd/*'):
    try:
        if 'canary-holder' in os.readlink(path):
            show(path)
    except OSError:
        pass
""",
    ),
    Probe(
        "proc-mem",
        """
for pid in M['targets']:
    try:
        with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb') as memory:
            for line in maps:
                place, mode = line.split()[:2]
                start, end = (int(part, 16) for part in place.split('-'))
                if mode.startswith('rw') and end - start < 1 << 26:
                    memory.seek(start)
                    tell(memory.read(end - start))
    except (OSError, ValueError):
        pass
""",
        needs="ptrace",
    ),
    Probe(
        "kernel-files",
        "opens(os.O_RDONLY, '/proc/kcore', '/proc/kmsg', '/dev/kmsg', '/dev/mem', '/dev/port',"
        " '/sys/kernel/debug', '/sys/kernel/tracing/trace', '/sys/fs/cgroup/cgroup.procs')",
        needs="root",
    ),
    Probe(
        "kernel-pages",
        """
for name in ('kpageflags', 'kpagecount', 'kpagecgroup', 'vmallocinfo', 'slabinfo', 'pagetypeinfo'):
    tried(name, lambda: len(os.read(os.open('/proc/' + name, os.O_RDONLY), 8)) > 0)
""",
        needs="root",
    ),
    Probe(
        "devices",
        "opens(os.O_RDONLY, *('/dev/' + name for name in ('vda', 'sda', 'nvme0n1', 'loop0', 'kvm', 'fuse',"
        " 'net/tun', 'loop-control', 'tty0', 'hwrng', 'vsock', 'console')))",
        needs="devices",
    ),
    Probe("shared-file", "show('/dev/shm/' + M['shared'], '/tmp/' + M['shared'], '/var/tmp/' + M['shared'])"),
    Probe(
        "shared-memory",
        """
libc.shmat.restype = ctypes.c_void_p
number = libc.shmget(M['shm_key'], 0, 0)
if number >= 0:
    place = libc.shmat(number, None, 0o10000)
    tell(ctypes.string_at(place, 100))
""",
    ),
    Probe(
        "inherited-descriptors",
        """
for fd in range(3, 256):
    try:
        tell(os.pread(fd, 100_000, 0))
    except OSError:
        pass
""",
    ),
    Probe("inherited-variables", lines="env; set"),
    Probe("masked-settings", "show(M['repo'] + '/.claude/settings.json', M['repo'] + '/.mcp.json')"),
    Probe(
        "masks-moved",
        """
place, aside = M['repo'] + '/.claude', M['repo'] + '/.aside'
for flags in (0, 2, 8):
    libc.umount2(place.encode(), flags)
try:
    os.rename(place, aside)
    show(aside + '/settings.json')
    os.rename(aside, place)
except OSError:
    pass
os.rename(M['repo'], M['repo'] + '-aside')
show(M['repo'] + '-aside/.claude/settings.json', M['repo'] + '-aside/.mcp.json')
os.rename(M['repo'] + '-aside', M['repo'])
""",
    ),
    Probe(
        "session-keyring",
        """
found = libc.syscall(M['keyctl'], 10, -3, b'user', b'minion-probe', 0)
if found > 0:
    buffer = ctypes.create_string_buffer(200)
    libc.syscall(M['keyctl'], 11, found, buffer, 200)
    tell(buffer.raw)
""",
        needs="keys",
    ),
    Probe(
        "user-keyring",
        """
# Not looked up but linked by its number, which /proc/keys tells: the kernel has one such ring for each of the
# host's users, and no namespace hides it.
libc.syscall(M['keyctl'], 8, M['ring'], -3)
buffer = ctypes.create_string_buffer(200)
if libc.syscall(M['keyctl'], 11, M['key'], buffer, 200) > 0:
    tell(buffer.raw)
""",
        needs="keys",
    ),
    Probe(
        "tool-reads",
        lines="ln -sfn @USER @REPO/aside; ln -sfn ../../../../secrets.json @REPO/up",
        calls=(
            ("read", {"path": "{home}/secrets.json"}),
            ("read", {"path": "up"}),
            ("read", {"path": "aside/.ssh/id_ed25519"}),
            ("read", {"path": "/proc/1/environ"}),
            ("read", {"path": "../../../../secrets.json"}),
        ),
        control="plain",
    ),
    Probe(
        "tool-finds",
        calls=(
            ("grep", {"pattern": "canary-", "path": "{user}"}),
            ("grep", {"pattern": "canary-", "path": "{home}"}),
            ("grep", {"pattern": "canary-", "path": "/proc/1"}),
            ("glob", {"pattern": "**/secrets.json", "path": "{home}"}),
        ),
        control="plain",
    ),
)  # fmt: skip
