"""Addresses, refs and paths that try to be options, commands, other repositories or other branches (F23)."""

from __future__ import annotations

from typing import Final

# `@M` stands for a command that leaves a mark, `@F` for the file that it makes, `@R` for a bare repository.
ADDRESSES: Final = (
    # options
    "--upload-pack=@M", "--upload-pack=@M @R", "-u@M", "-u", "--config=core.fsmonitor=@M", "-ccore.sshCommand=@M",
    "-c", "--template=@R", "--separate-git-dir=@F", "--reference=@R", "--exec=@M", "--receive-pack=@M", "-", "--",
    "--help", "--no-local", "-oProxyCommand=@M", "--recurse-submodules", "--bundle-uri=ext::@M", "--origin=@M",
    # helpers that are commands
    "ext::@M", "ext::sh -c @M% @R", "ext::sh -c '@M'", "EXT::@M", " ext::@M", "ext::git-upload-pack @R;@M",
    "fd::0", "fd::17/x", "transport::x", "::@M", "testgit::@R", "http::ext::@M", "file::ext::@M", "ssh::ext::@M",
    "https::https://127.0.0.1:1/x",
    # ssh
    "ssh://-oProxyCommand=@M/x", "ssh://-oProxyCommand=@M@127.0.0.1/x", "ssh://127.0.0.1:-oProxyCommand=@M/x",
    "-oProxyCommand=@M:x", "git@-oProxyCommand=@M:x", "ssh://git@127.0.0.1:1/-oProxyCommand=@M",
    "ssh://git@127.0.0.1:1/--upload-pack=@M", "ssh://git@127.0.0.1:1/;@M", "ssh://git@127.0.0.1:1/$(@M)",
    "ssh://git@127.0.0.1:1/`@M`", "git@127.0.0.1:;@M", "git@127.0.0.1:$(@M)", "git+ssh://-oProxyCommand=@M/x",
    "ssh://127.0.0.1:1/~-oProxyCommand=@M/x", "ssh://%2DoProxyCommand=@M/x", "ssh://[-oProxyCommand=@M]/x",
    "ssh://-F@F/x", "-F@F:x", "ssh://git@127.0.0.1:1/x\n-oProxyCommand=@M",
    # files and other transports
    "file://@R", "file:///etc/passwd", "file://localhost@R", "file://@R/../..", "FILE://@R", "git://127.0.0.1:1/x",
    "ftp://127.0.0.1:1/x", "http://127.0.0.1:1/x", "dict://127.0.0.1:1/x", "gopher://127.0.0.1:1/x",
    "https://user:token@127.0.0.1:1/x", "https://127.0.0.1:1/x?a=$(@M)", "https://127.0.0.1:1/x#$(@M)",
    "https://127.0.0.1:1\\@evil.invalid/x", "https://-x.invalid/x", "https:///x", "https://", "https:@R",
    # text that a shell or a file of settings would take apart
    "@R;@M", "@R|@M", "@R && @M", "$(@M)", "`@M`", "@R\n@M", "@R\r@M", "@R\0@M", "@R\t--upload-pack=@M", "'@R'",
    '"@R" --upload-pack=@M', "@R\n[core]\n\tsshCommand = @M", "\x1b]0;@M\x07", "@R --upload-pack=@M", "\u202e@R",
    # elsewhere
    "~/x", "~root/x", ".", "..", "../..", "x", "./x", "//", "/", "/etc", "/etc/passwd", "/proc/self/root",
    "/dev/zero",
    "/dev/stdin", "/nowhere/-u@M", "@R/../../..", "@R/", "@R/.git", "@R.bundle", " @R", "", " ", "\0", "C:\\x",
    "a" * 5_000, "/" + "a" * 5_000, "ssh://" + "a" * 5_000,
)  # fmt: skip

# What a session stages as REPO:BRANCH, or a routine names as its branch.
REFS: Final = (
    "main", "refs/heads/main", "heads/main", "HEAD", "@", "@{-1}", "@{u}", "@{push}", "FETCH_HEAD", "ORIG_HEAD",
    "claude", "claude/", "/claude/x", "claude//x", "claude/x/", "claude/../main", "claude/x/../../main",
    "claude/..",
    "claude/./x", "claude/.x", "claude/x.", "claude/x..y", "claude/x.lock", "claude/x.lock/y", "claude/a.lock",
    "refs/heads/../../main", "refs/heads/claude/../main", "refs/heads/claude/x", "refs/tags/v1", "tags/v1",
    "refs/notes/x", "refs/replace/x", "refs/for/main", "refs/pull/1/head", "refs/meta/config", "../main",
    "../../config",
    "claude/x:main", "claude/x:refs/heads/main", "main:claude/x", ":main", ":claude/kept", ":", "+claude/kept",
    "+main", "+refs/heads/*:refs/heads/*", "refs/heads/*", "claude/*", "*", "claude/x*", "^main", "~1",
    "claude/x~1",
    "claude/x^", "claude/x^{}", "claude/x@{1}", "claude/@{-1}", "claude/x?", "claude/[x]", "claude/x\\y",
    "--force", "-f", "--delete", "--mirror", "--all", "--tags", "--receive-pack=@M", "--exec=@M", "--prune", "-d",
    "claude/--force", "claude/-x", "--repo=@R", "-oProxyCommand=@M", "--push-option=x", "--no-verify", "--",
    "claude/x --force", "claude/x main", "claude/x\tmain", "claude/x\nmain", "claude/x\n", "\nclaude/x",
    "claude/x\r",
    "claude/x\0main", "\0", " claude/x", "claude/x ", "claude/$(@M)", "claude/`@M`", "claude/x;@M", "claude/x|@M",
    "claude/x&&@M", "claude/x'", 'claude/x"', "claude/%2e%2e/main", "claude/x%00main", "Claude/x", "CLAUDE/x",
    "claude/X", "claudex", "claude-x", "claude\\x", "claude\uff0fx", "claude\u2215x", "\u0441laude/x",
    "claud\u0435/x",
    "cl\u00e0ude/x", "claude/\u0445", "claude/x\u200b", "\u200bclaude/x", "claude/\u202ex", "claude/x\u2028main",
    "\ufeffclaude/x", "claude/\ud800", "claude/x\x7f", "claude/x\x08", "claude/\x1b[2J", "", " ",
    "claude/" + "a" * 102,
    "claude/" + "a/" * 60, "a" * 5_000, "claude/" + "a" * 5_000, "claude/x/HEAD:main", "claude/kept/x",
    "claude/kept",
)  # fmt: skip

# What a session names as the file of an effect, or a routine as the place of one: never to lead out.
PATHS: Final = (
    "/etc/passwd", "//etc/passwd", "../secret", "../../secret", "x/../../secret", "./secret", "..", ".", "",
    " ", "/",
    "shop/../../secret", "shop/link", "shop/up/secret", "shop/loop", "shop/pipe", "shop/.git/config",
    "shop//roof.txt",
    "shop/", "shop\\..\\secret", "shop/\0", "shop/roof.txt\0.md", "shop/\n", "~/secret", "$HOME/secret", "$(@M)",
    "`@M`", "file:///etc/passwd", "/proc/self/environ", "/dev/zero", "shop/" + "a" * 300, "a/" * 3_000 + "x",
    "C:\\secret", "\\\\host\\share", "shop/roof.txt/..", "shop/roof.txt/x", "--output=@F", "-o@F",
    "shop/\u2024\u2024/x",
    "\uff0e\uff0e/secret", "shop/\x7f", "shop/.", "shop/..", "shop/deep/link/secret",
)  # fmt: skip
