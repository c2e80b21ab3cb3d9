"""Probes that leave something for the runner to stumble over when it reads, checks and pushes the workspace."""

from __future__ import annotations

from typing import Final

from tests.faults.probes.probe import Probe

# Exchanges two names as fast as the kernel can, in the background, until the sandbox ends.
SWAP: Final = """
def swap(one, two):
    heard, begun = os.pipe()
    if os.fork() == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        one, two = one.encode(), two.encode()
        libc.renameat2(-100, one, -100, two, 2)
        os.write(begun, b'x')
        while True:
            libc.renameat2(-100, one, -100, two, 2)
    os.read(heard, 1)
os.chdir(M['repo'])
"""
EVIL: Final = "#!/bin/sh\\n: > @MARKS/$(basename $0)\\n"
HOOKS: Final = (
    "pre-commit prepare-commit-msg commit-msg post-commit post-checkout pre-push post-index-change"
    " reference-transaction fsmonitor-watchman pre-auto-gc post-merge pre-receive update post-receive"
)
# A git directory at @PLACE (@HOST_PLACE to the host), whose every program leaves a mark on the host.
MAKE_GIT: Final = (
    f"cd @REPO; echo planted > planted.txt; mkdir -p @PLACE/objects @PLACE/refs/heads @PLACE/info @PLACE/hooks;"
    f" echo 'ref: refs/heads/main' > @PLACE/HEAD; for name in {HOOKS}; do printf '{EVIL}' > @PLACE/hooks/$name;"
    f" chmod +x @PLACE/hooks/$name; done; printf '{EVIL}' > evil; chmod +x evil; mkdir -p src;"
    " printf '[core]\\n\\trepositoryformatversion = 0\\n\\tworktree = @HOST_REPO\\n"
    "\\tfsmonitor = @HOST_REPO/evil\\n\\tsshCommand = @HOST_REPO/evil\\n\\thooksPath = @HOST_PLACE/hooks\\n"
    "[filter \"evil\"]\\n"
    "\\tclean = @HOST_REPO/evil\\n' > @PLACE/config; echo '* filter=evil' > .gitattributes"
)


def made_at(place: str) -> str:
    """The shell's text that makes the git directory at a place such as `@REPO/.git`."""
    return MAKE_GIT.replace("@HOST_PLACE", place.replace("@", "@HOST_")).replace("@PLACE", place)


PUSHING: Final = (
    Probe("git-made", lines=made_at("@REPO/.git"), control="naive", after="push", fresh=True),
    Probe(
        "git-made-deeper",
        lines=made_at("@REPO/src/.git"),
        control="naive", after="push", fresh=True,
    ),
    Probe(
        "git-file",
        lines=made_at("@SCRATCH/elsewhere") + "; echo 'gitdir: ../../scratch/elsewhere' > .git",
        control="naive", after="push", fresh=True,
    ),
    Probe(
        "filters",
        lines=(
            f"cd @REPO; printf '{EVIL}' > evil; chmod +x evil; echo '* filter=evil diff=evil' > .gitattributes;"
            " printf '[filter \"evil\"]\\n\\tclean = ./evil\\n\\tsmudge = ./evil\\n[core]\\n"
            "\\tfsmonitor = ./evil\\n' > @SCRATCH/.gitconfig;"
            " cp @SCRATCH/.gitconfig .gitconfig; cp @SCRATCH/.gitconfig config"
        ),
        control="naive", after="push", fresh=True,
    ),
    Probe(
        "settings-anew",
        lines=(
            "cd @REPO; mkdir -p sub/.claude .CLAUDE; echo '{\"hooks\": {}}' | tee sub/.claude/settings.json"
            " .CLAUDE/settings.json sub/.mcp.json sub/.MCP.json > /dev/null"
        ),
        control="naive", after="push", fresh=True,
    ),
    Probe(
        "programs-on-the-way",
        lines=(
            "cd @REPO; mkdir -p @SCRATCH/bin; for name in git ssh sh bash python3 bwrap git-receive-pack"
            f" git-upload-pack; do printf '{EVIL}' | tee $name > @SCRATCH/bin/$name;"
            " chmod +x $name @SCRATCH/bin/$name; done"
        ),
        control="naive", after="push", fresh=True,
    ),
    Probe(
        "workspace-swapped",
        """
os.chdir(os.path.dirname(M['repo']))
for name in ('shop', 'barn'):
    os.rename(name, 'aside-' + name)
    os.symlink(os.path.relpath(M['user'], M['run'] + '/workspace'), name)
""",
        control="naive", after="push", fresh=True,
    ),
    Probe(
        "links-in-an-effect",
        """
os.chdir(M['repo'])
os.makedirs('deep', exist_ok=True)
os.symlink('../../../../..', 'deep/home')
os.symlink('../../../..', 'up')
open('planted.txt', 'w').write('planted')
""",
        control="naive", after="take", fresh=True,
    ),
    Probe(
        "file-raced-in-a-push",
        SWAP + "open('one', 'w').write('x' * 45)\n"
        "os.symlink('../../../../secrets.json', 'two')\nswap('one', 'two')",
        control="naive", after="push", fresh=True,
    ),
    Probe(
        "folder-raced-in-a-push",
        SWAP + "os.mkdir('one')\nopen('one/secrets.json', 'w').write('x' * 45)\n"
        "os.symlink('../../../..', 'two')\nswap('one', 'two')",
        control="naive", after="push", fresh=True,
    ),
    Probe(
        "file-raced-in-an-effect",
        SWAP + "os.mkdir('d')\nos.mkdir('d2')\nopen('d/secrets.json', 'w').write('x')\n"
        "os.symlink('../../../../../secrets.json', 'd2/x')\nswap('d/secrets.json', 'd2/x')",
        control="naive", after="take", fresh=True,
    ),
    Probe(
        "folder-raced-in-a-check",
        SWAP + "os.mkdir('one')\nos.symlink('../../../..', 'two')\nswap('one', 'two')",
        control="naive", after="expect", fresh=True,
    ),
)  # fmt: skip
