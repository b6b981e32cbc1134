from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of ours with mode 0700."""
    tmp_path.chmod(0o700)
    return tmp_path
