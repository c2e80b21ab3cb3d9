"""Tells code, tests and generated files by their paths, as most projects lay them out."""

import re

CODE = frozenset(
    b"bash c cc clj cljs cpp cs cxx dart erl ex exs fs go groovy h hpp hs java jl js jsx kt kts lua m mjs ml"
    b" mm nim php pl pm ps1 py pyx r rb rs scala sh sol sql svelte swift ts tsx vb vue zig".split()
)
TEST_FOLDERS = frozenset(b"test tests testing spec specs __tests__ e2e testdata fixtures".split())
TEST_NAME = re.compile(
    rb"(?:test_.*|.*_tests?|.*_spec|.*\.test|.*\.spec|.*[a-z0-9]Tests?|.*[a-z0-9]Spec|conftest)\.[A-Za-z0-9]+"
)
GENERATED = re.compile(
    rb".*\.lock|.*-lock\.(?:json|yaml|yml)|npm-shrinkwrap\.json|go\.sum|.*\.min\.(?:js|css)|.*\.map|.*\.snap"
    rb"|.*_pb2(?:_grpc)?\.py|.*\.pb\.go|.*\.g\.dart"
)


def is_test(path: bytes) -> bool:
    """Whether the path is one of a test: a folder such as `tests/`, or a name such as `test_cart.py`."""
    *folders, name = path.split(b"/")
    return TEST_NAME.fullmatch(name) is not None or any(folder.lower() in TEST_FOLDERS for folder in folders)


def is_code(path: bytes) -> bool:
    """Whether the path is one of code that is no test: told by the ending of its name."""
    ending = path.rsplit(b"/", 1)[-1].rpartition(b".")[2].lower()
    return ending in CODE and not is_test(path)


def is_generated(path: bytes) -> bool:
    """Whether a program wrote the file, such as a lock file: nobody reads it a second time."""
    return GENERATED.fullmatch(path.rsplit(b"/", 1)[-1].lower()) is not None
