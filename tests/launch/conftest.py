import pytest
from launch_cases import config

from revgn.launch import start_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run, shared by tests that do not change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    start_run(config(), folder)
    return folder
