import pytest


@pytest.fixture
def often(monkeypatch):
    """A driver that looks at its jobs, and jobs that beat, often: short jobs are seen under way."""
    monkeypatch.setattr("revgn.sweeps.drive._LOOK_SECONDS", 0.02)
    monkeypatch.setattr("revgn.sweeps.claim._LOOK_SECONDS", 0.02)
    monkeypatch.setattr("revgn.sweeps.claim.BEAT_SECONDS", 0.05)
