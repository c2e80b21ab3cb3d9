"""What lies where the secrets should lie is refused for what it is, at once, and nothing of it is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minion.secrets_file import read_secrets
from server.contract.refusals import Refused


def test_a_folder_a_pipe_or_a_link_in_the_place_of_the_secrets_is_refused_without_waiting(tmp_path: Path) -> None:
    for number, put in enumerate((Path.mkdir, os.mkfifo, lambda path: Path(path).symlink_to(tmp_path))):
        file = tmp_path / f"{number}.json"
        put(file)
        with pytest.raises(Refused) as caught:
            read_secrets(file)
        assert caught.value.code == "secrets_unreadable"
