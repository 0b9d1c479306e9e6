"""Files that replace others: complete, or not at all, whoever else writes into the folder."""

import pytest

from revgn.errors import RunError
from revgn.store.files import create_shared, replacing, write_shared


def test_two_writers_of_one_folder_do_not_meet(tmp_path):
    """The second writer starts and ends while the first one writes; both write a file of the same name."""
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    with replacing(path) as partial:
        partial.write_text("first")
        write_shared(other, b"second")
        write_shared(path, b"third")
        assert path.read_text() == "third"
    assert path.read_text() == "first"
    assert other.read_text() == "second"
    assert sorted(tmp_path.iterdir()) == [path, other]


def _write(path, is_folder, error):
    with replacing(path) as partial:
        if is_folder:
            partial.mkdir()
        (partial / "piece" if is_folder else partial).write_text("new")
        raise error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), RunError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("no"), ValueError),
    ],
)
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_failed_writer_changes_nothing(tmp_path, error, expected, is_folder):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(expected):
        _write(path, is_folder, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_names_the_file_that_was_meant(tmp_path):
    with pytest.raises(RunError, match=r"nowhere/a\.txt: cannot be written: No such file or directory"):
        write_shared(tmp_path / "nowhere" / "a.txt", b"")


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_is_made_only_once(has_links, tmp_path, monkeypatch):
    if not has_links:

        def link(old, new):
            raise FileExistsError if new.exists() else PermissionError

        monkeypatch.setattr("os.link", link)
    path = tmp_path / "a.txt"
    assert create_shared(path, b"first")
    assert not create_shared(path, b"second")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"first", [path])
