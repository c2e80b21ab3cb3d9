"""`minion completion`: the shells' scripts, and the candidates for what a user is typing: names, runs, states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from minion.config import Home, home_at
from server.contract.refusals import Refusal

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Found = list[tuple[str, str]]
Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]

SHELLS: Final = ("bash", "zsh", "fish")
# A list that scrolls off the screen helps nobody; a typed beginning reaches every run that is kept.
_NEWEST: Final = 20
_ALL: Final = 100_000
# The shell puts a candidate onto the line as it is: a folder's name that means something to it is left out.
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
# What can have become of a slot (`minion.store.slots`).
SLOT_STATES: Final = ("due", "held", "ran", "late", "skipped", "missed")
_PLAIN_INPUT: Final = re.compile(r"@[A-Za-z0-9._/-]+")

_BASH: Final = """\
# Completion of `minion` for bash 3.2 and newer. For this shell only: eval "$(minion completion bash)"
# For every shell to come, put it where bash-completion looks:
#   mkdir -p ~/.local/share/bash-completion/completions
#   minion completion bash > ~/.local/share/bash-completion/completions/minion
# or, without bash-completion, add the line `eval "$(minion completion bash)"` to ~/.bashrc.
_minion_complete() {
    local type value help
    COMPREPLY=()
    while IFS=$'\\t' read -r type value help; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done < <("$1" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null </dev/null)
}
complete -o nosort -F _minion_complete minion 2>/dev/null || complete -F _minion_complete minion
"""
_ZSH: Final = """\
#compdef minion
# Completion of `minion` for zsh. For this shell only: eval "$(minion completion zsh)" (after compinit)
# For every shell to come, put it into a folder of your $fpath under the name _minion:
#   mkdir -p ~/.zfunc && minion completion zsh > ~/.zfunc/_minion
# and have these two lines in ~/.zshrc:
#   fpath+=~/.zfunc
#   autoload -Uz compinit && compinit
_minion_complete() {
    local type value help
    local -a found
    while IFS=$'\\t' read -r type value help; do
        case $type in
            plain) found+=("${value//:/\\\\:}${help:+:$help}") ;;
            file) _files ;;
            dir) _files -/ ;;
        esac
    done < <($words[1] __complete zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)
    (( $#found )) && _describe -V minion found
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _minion_complete "$@"
else
    compdef _minion_complete minion
fi
"""
_FISH: Final = """\
# Completion of `minion` for fish. For this shell only: minion completion fish | source
# For every shell to come:
#   mkdir -p ~/.config/fish/completions
#   minion completion fish > ~/.config/fish/completions/minion.fish
function __minion_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    for line in ($before[1] __complete fish -- $before "$current" 2>/dev/null </dev/null)
        set -l parts (string split \\t -- $line)
        switch $parts[1]
            case plain
                printf '%s\\t%s\\n' $parts[2] "$parts[3]"
            case file
                __fish_complete_path "$current"
            case dir
                __fish_complete_directories "$current" ''
        end
    end
end
complete --no-files --keep-order --command minion --arguments '(__minion_complete)'
"""
SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command("completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that completes `minion` in a shell: bash, zsh or fish.

    It completes verbs, options, routine names, runs (ids and NAME@last), skills, templates and states. Nothing
    of yours is edited: the first lines of the script say where to put it.

    \b
    Examples:
      minion completion bash
      minion completion zsh
      minion completion fish
    """
    click.echo(SCRIPTS[shell], nl=False)


@click.command("__complete", hidden=True)
@click.argument("shell", type=click.Choice(SHELLS))
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def answer(ctx: click.Context, shell: str, words: tuple[str, ...]) -> None:
    """What the shells' scripts call: the candidates for the last word, one a line: type, value, help.

    bash gives its line up to the cursor and its word breaks, the others their words.
    """
    root = ctx.find_root().command
    cut = ""
    if shell == "bash":
        line, breaks = (*words, "", "")[:2]
        arguments = words_of_line(line)
        cut = _cut(line, arguments[-1], breaks)
    else:
        arguments = list(words)
    for item in candidates(root, arguments[1:-1], arguments[-1] if arguments else "", joined=shell != "bash"):
        value = item.value.removeprefix(cut) if item.type == "plain" else item.value
        said = " ".join((item.help or "").split())
        click.echo(f"{item.type}\t{value}\t{said}".rstrip())


def candidates(
    root: click.Command, arguments: list[str], incomplete: str, *, joined: bool = False
) -> list[CompletionItem]:
    """What `incomplete` may become after these arguments; `joined` keeps the `--option=` of a value with it.

    A home or store that cannot be read has no candidates, and a line that makes no sense has none.
    """
    from click.shell_completion import CompletionItem, ShellComplete

    asked = ShellComplete(root, {}, "minion", "")
    try:
        found = asked.get_completions(list(arguments), incomplete)
    except (Refusal, click.ClickException, OSError, ValueError):
        return []
    if not found and _takes_files(arguments) and not incomplete.startswith("-"):
        return [CompletionItem(incomplete, type="file")]
    option, equals, _ = incomplete.partition("=")
    if joined and equals and option.startswith("-"):
        for item in found:
            item.value = f"{option}={item.value}" if item.type == "plain" else item.value
    return found


def _takes_files(arguments: list[str]) -> bool:
    """Whether these arguments are of `import`, which takes files: the shell itself knows those."""
    verb = arguments[2:] if arguments[:1] == ["--home"] else arguments
    return verb[:1] == ["import"]


def words_of_line(line: str) -> list[str]:
    """The words of a command line up to the cursor; the last one is the one being typed, perhaps empty."""
    from click.shell_completion import split_arg_string

    words = split_arg_string(line + _CURSOR)
    return [*words[:-1], words[-1].removesuffix(_CURSOR)]


# Marks where the cursor stands while a line is split: no shell line holds it.
_CURSOR: Final = "\x1f"


def _cut(line: str, incomplete: str, breaks: str) -> str:
    """What bash keeps of a word: it replaces only what stands behind the last of its word breaks.

    Where that is `@`, the sign itself is replaced too: readline has it begin the name of a host.
    """
    before = line.removesuffix(incomplete)
    if not incomplete or before == line or before.endswith(("'", '"')):
        return ""  # the word is quoted: bash takes it whole
    last = max((incomplete.rfind(sign) for sign in breaks if not sign.isspace() and sign not in "\"'"), default=-1)
    return incomplete[: last if incomplete[last : last + 1] == "@" else last + 1]


def _completer(look: Callable[[Home, str], Iterable[tuple[str, str]]]) -> Completer:
    """A completer for click, of pairs of a value and a word on it."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
        from click.shell_completion import CompletionItem

        # The callback that keeps `--home` is not called while a line is completed: it stands among the parameters.
        home = home_at(ctx.find_root().params.get("home"))
        found = [pair for pair in look(home, incomplete) if pair[0].startswith(incomplete)]
        return [CompletionItem(value, help=said) for value, said in found if _PLAIN.fullmatch(value)]

    return complete


def _routines(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.store.local_db import read_only
    from minion.store.routines import list_routines

    with read_only(home.store) as db:
        kept = list_routines(db)
    return [(item.name, " → ".join(item.document["pipeline"]) or "a prompt") for item in kept]


def _runs(home: Home, incomplete: str) -> Found:
    from minion.store.local_db import read_only
    from minion.store.run_history import list_runs

    with read_only(home.store) as db:
        runs = list_runs(db, limit=_ALL)
    newest = {run["routine"]: run for run in reversed(runs)}
    found = [("last", _told(runs[0]))] if runs else []
    found += [(f"{name}@last", _told(newest[name])) for name in sorted(newest)]
    listed = runs if incomplete.startswith("run_") else runs[:_NEWEST]
    return found + [(run["id"], _told(run)) for run in listed]


def _interrupted(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.store.local_db import read_only
    from minion.store.run_history import list_runs

    with read_only(home.store) as db:
        return [(run["id"], _told(run)) for run in list_runs(db, state="interrupted", limit=_NEWEST)]


def _told(run: dict[str, str]) -> str:
    from minion.spelling import local_time

    return f"{run['verdict']} · {run['routine']} · {local_time(run['created_at'])}"


def _skills(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.skills.loader import skill_places

    places = skill_places(home)
    return [(name, "bundled" if places[name][1] else "own") for name in sorted(places)]


def _own_skills(home: Home, incomplete: str) -> Found:
    return [(name, said) for name, said in _skills(home, incomplete) if said == "own"]


def _templates(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.routines.template_list import templates

    return [(template.name, template.summary) for template in templates()]


def _states(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.spelling import STATES

    return [(state, "") for state in STATES]


def _decisions(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.store.decisions import list_decisions
    from minion.store.local_db import read_only

    with read_only(home.store) as db:
        return [(item["id"], item["question"]) for item in list_decisions(db)]


def _unsettled(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.store.local_db import read_only
    from minion.store.overview import unsettled_effects

    with read_only(home.store) as db:
        found = unsettled_effects(db)
    return [(item["id"], f"{item['kind']}:{item['target']} of {item['routine']}") for item in found]


def _under_way(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.store.local_db import read_only
    from minion.store.overview import runs_under_way

    with read_only(home.store) as db:
        runs = runs_under_way(db)
    named = [(f"{run['routine']}@last", run["state"]) for run in runs]
    return named + [(run["run"], run["routine"]) for run in runs]


def _slot_states(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    return [(state, "") for state in SLOT_STATES]


def complete_input(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The files that an `@` with the beginning of a path may become."""
    from click.shell_completion import CompletionItem

    if not incomplete.startswith("@"):
        return []
    folder, slash, begun = incomplete[1:].rpartition("/")
    place = Path(folder + slash or ".").expanduser()
    found = sorted(entry.name for entry in place.iterdir() if entry.name.startswith(begun) and entry.is_file())
    files = [f"@{folder}{slash}{name}" for name in found if begun or name[0] != "."]
    return [CompletionItem(file) for file in files if _PLAIN_INPUT.fullmatch(file)]


def _secrets(home: Home, incomplete: str) -> Found:  # noqa: ARG001
    from minion.secrets_file import secret_names

    return [(name, "kept") for name in sorted(secret_names(home.secrets_file))]


def _secrets_to_set(home: Home, incomplete: str) -> Found:
    kept = _secrets(home, incomplete)
    meant = {"anthropic_api_key": "the key of the API", "slack_webhook": "where messages to slack go"}
    return kept + [pair for pair in meant.items() if pair[0] not in dict(kept)]


complete_routine: Final = _completer(_routines)
complete_secret: Final = _completer(_secrets)
complete_secret_to_set: Final = _completer(_secrets_to_set)
complete_run: Final = _completer(_runs)
complete_interrupted: Final = _completer(_interrupted)
complete_under_way: Final = _completer(_under_way)
complete_decision: Final = _completer(_decisions)
complete_effect: Final = _completer(_unsettled)
complete_slot_state: Final = _completer(_slot_states)
complete_skill: Final = _completer(_skills)
complete_own_skill: Final = _completer(_own_skills)
complete_template: Final = _completer(_templates)
complete_state: Final = _completer(_states)
