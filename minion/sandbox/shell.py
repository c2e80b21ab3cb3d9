"""A shell whose folder, variables, functions, aliases and options carry over from command to command.

Every command is a process group of its own in the tool host, so that neither `exit` nor a timeout ends the
session. What carries over lies in a file inside, written when the command ends and read by the next one; of two
such files the older is overwritten, so that a kill in the middle leaves the other. A command that kept nothing,
killed or replaced by `exec`, is named in the output of the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from minion.sandbox.tool_client import ToolHost, ToolResult

NO_BASH: Final = "not found: bash"
LONGEST_COMMAND: Final = 200_000  # characters

# Its arguments: the folder of the two files, the first folder to work in, the names of variables that come from
# outside. The command itself comes on stdin and is data until bash reads it as its own source.
#
# All that bash can print to be read again is written, its own variables too: to tell them apart would take longer
# than to write them, and most cannot be set. No `$(…)`, nothing that is no builtin, and the number of the state as
# a comment: a fork costs as much as all the rest. Options are written only where they differ from those at the
# start, and set last. `trap` is wrapped, because a command's own trap on EXIT would stand in the way of ours: it
# is run after ours. In a subshell it is bash's own again.
#
# A file is whole when it begins with `#` and its number. The first character is `-` from before the command until
# all is written: whatever ends the shell in between, even `exec`, the next command sees it. Such a file is not
# read. One that stops in the middle all the same ends the command, for what is read cannot be taken back: two
# states never mix. It ends with 1, which tells it from a signal, after which the file is as good as before.
#
# The session's aliases must not reach these lines: they are on only in the last group, which is parsed by then.
# Its functions come last in the file; from there on every builtin is called by `builtin`, and `shopt` and `set` in
# the file's options through aliases of its own. `extglob` is on while functions are read: some are written in it.
_BASH: Final = r"""
unset BASH_EXECUTION_STRING
[[ -d $1 ]] || mkdir -m 700 -p -- "$1" 2>/dev/null
exec 2>&1
__minion_a='#0' __minion_b='#0' __minion_lost=
[[ ! -e $1/a ]] || __minion_a=
[[ ! -e $1/b ]] || __minion_b=
[[ ! -f $1/a ]] || IFS= read -r __minion_a < "$1/a"
[[ ! -f $1/b ]] || IFS= read -r __minion_b < "$1/b"
__minion_a=${__minion_a#"#"} __minion_b=${__minion_b#"#"}
case $__minion_a in ''|*[!0-9]*) __minion_a=0 __minion_lost=1 ;; esac
case $__minion_b in ''|*[!0-9]*) __minion_b=0 __minion_lost=1 ;; esac
if ((__minion_a > __minion_b)); then
  set -- b a "$__minion_a" "$__minion_lost" "$@"
else
  set -- a b "$__minion_b" "$__minion_lost" "$@"
fi
[[ -f $5/$1 || ! -e $5/$1 ]] || rm -rf -- "$5/$1"
__minion_pwd= __minion_most= __minion_whole=
if (($3)); then
  trap '(($? != 1)) || { builtin echo "#0" >| "$5/$2"
    builtin echo "bash: this did not run: what the command before it left cannot be read, and is lost"; }' EXIT
  shopt -s extglob
  . "$5/$2" >/dev/null 2>&1
  builtin shopt -u extglob
  [[ $__minion_most == "$3" ]] || builtin exit 1
  builtin trap - EXIT
  [[ $__minion_whole == "$3" ]] ||
    builtin echo "bash: not all functions could be read again; \`declare -F\` prints those that are left"
fi
__minion_file=$5/$1 __minion_number=$(($3 + 1)) __minion_given=("${@:7}") __minion_exit= OPTIND=1
__minion_source=/dev/stdin
((BASH_VERSINFO > 3)) || { __minion_source=$5/command; builtin command cat >| "$__minion_source"; }
if [[ -z $__minion_pwd ]] || ! builtin cd -- "$__minion_pwd" 2>/dev/null; then
  builtin cd -- "$6" 2>/dev/null || builtin cd /
  [[ -z $__minion_pwd ]] || builtin echo "bash: the folder $__minion_pwd is gone; this runs in $PWD"
elif [[ -n $__minion_oldpwd ]]; then
  OLDPWD=$__minion_oldpwd
fi
[[ -z $4 ]] || builtin echo "bash: what the command before this one set is lost (a shell that is killed or" \
  "replaced by exec keeps nothing); this runs in $PWD"
{ builtin printf - 1<>"$__minion_file"; } 2>/dev/null ||
  builtin echo "bash: $__minion_file cannot be written; what this sets will be lost"
builtin set --
trap() {
  if [[ $BASH_SUBSHELL != 0 || $# == 0 || $1 == -[lp]* ]]; then builtin trap "$@"; builtin return; fi
  [[ $1 != -- ]] || builtin shift
  builtin local "__minion_do=$1" __minion_each __minion_rest
  __minion_rest=()
  if (($# > 1)); then builtin shift; else __minion_do=-; fi
  for __minion_each; do
    case $__minion_each in
      0|[Ee][Xx][Ii][Tt]) [[ $__minion_do == - ]] && __minion_exit= || __minion_exit=$__minion_do ;;
      *) __minion_rest+=("$__minion_each") ;;
    esac
  done
  if ((${#__minion_rest[@]})); then builtin trap -- "$__minion_do" "${__minion_rest[@]}"; fi
}
__minion_again() { builtin return "$__minion_status"; }
__minion_last() { [[ -z $__minion_exit ]] || { __minion_again; builtin eval "$__minion_exit"; }; }
__minion_save() {
  __minion_status=$?
  builtin trap - DEBUG ERR RETURN
  {
    builtin echo "-$__minion_number"
    if [[ $SHELLOPTS:${BASHOPTS-} != "$__minion_plain" ]]; then
      builtin echo "shopt -s expand_aliases; alias set='builtin set' shopt='builtin shopt'"
      builtin echo "__minion_options() {"; builtin shopt -p; builtin set +o; builtin echo "}"
      builtin echo "unalias set shopt; shopt -u expand_aliases"
    fi
    builtin set +aeufxv
    builtin unset -f trap __minion_save __minion_options
    builtin declare -p
    builtin echo "set +o posix"
    for __minion_each in "${__minion_given[@]}"; do
      [[ ${!__minion_each+x} ]] || builtin echo "unset $__minion_each"
    done
    builtin printf "__minion_pwd=%q __minion_oldpwd=%q\n" "$PWD" "$OLDPWD"
    builtin umask -p; builtin alias -p
    builtin echo "__minion_most=$__minion_number"
    builtin export -fp; builtin declare -f
    builtin echo "__minion_whole=$__minion_number"
  } >| "$__minion_file" && builtin printf "#" 1<>"$__minion_file"
}
builtin trap '{ \__minion_save; } 2>/dev/null; \__minion_last "$@"' EXIT
{
  builtin shopt -s expand_aliases
  __minion_plain=$SHELLOPTS:${BASHOPTS-}
  if builtin declare -F __minion_options >/dev/null; then { __minion_options; } 2>/dev/null; fi
  builtin . "$__minion_source"
}
"""
_SH: Final = 'cd -- "$1" || exit; exec 2>&1; . /dev/stdin'


class Shell:
    """One session of a shell in a tool host; `state` is the folder inside where it keeps what carries over.

    `carries` turns False where there is no bash: `/bin/sh` then runs each command by itself.
    """

    def __init__(self, host: ToolHost, state: str) -> None:
        self.carries = True
        self._host = host
        self._state = state
        self._alone = asyncio.Lock()

    async def run(
        self, command: str, *, cwd: str, env: Mapping[str, str], timeout_s: float, max_bytes: int
    ) -> ToolResult:
        """Run one command and wait for its end; a second one waits for the first, within its own time.

        `cwd` is where the session begins, and goes on when its own folder is gone. `stdout` is the beginning of
        all that was printed and `stderr` the end of what goes beyond it, `dropped` the bytes between.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                await self._alone.acquire()
        except TimeoutError:
            return ToolResult(None, b"", b"", 0, "timeout", int(timeout_s * 1000))
        try:
            left_s = max(0.001, timeout_s - (time.monotonic() - started))
            result = None
            if self.carries:
                names = [name for name in env if name.isascii() and name.isidentifier()]
                argv = ["bash", "--noprofile", "--norc", "-c", _BASH, "bash", self._state, cwd, *names]
                result = await self._host.run(
                    argv, cwd="/", env=env, stdin=command, timeout_s=left_s, max_bytes=max_bytes, session=True
                )
                self.carries = result.why != NO_BASH
            if result is None or not self.carries:
                argv = ["/bin/sh", "-c", _SH, "sh", cwd]
                result = await self._host.run(
                    argv, cwd="/", env=env, stdin=command, timeout_s=left_s, max_bytes=max_bytes, session=True
                )
            return result
        finally:
            self._alone.release()
