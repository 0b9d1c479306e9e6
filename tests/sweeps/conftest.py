import pytest
from run_cases import provenance

__all__ = ["provenance"]


@pytest.fixture
def often(monkeypatch):
    """Shorten the polling and heartbeat intervals, so that a test observes short trials while they run."""
    monkeypatch.setattr("revgn.sweeps.drive._LOOK_SECONDS", 0.02)
    monkeypatch.setattr("revgn.sweeps.claim._LOOK_SECONDS", 0.02)
    monkeypatch.setattr("revgn.sweeps.claim.BEAT_SECONDS", 0.05)
