"""The forecast of a sweep: the settings and the number of steps that it assumes for each trial."""

from revgn.sweeps import forecast
from revgn.sweeps.forecast import trial_seconds
from revgn.training import choose_defaults


def test_a_forecast_assumes_the_settings_that_a_trial_chooses(monkeypatch):
    """Each set of data is read once, although trials choose their defaults from it."""
    timed, loaded = [], []
    load = forecast.load_dataset

    def reading(**settings):
        loaded.append(settings["name"])
        return load(**settings)

    def timing(config, dataset):
        timed.append(config)
        return 0.25, 8

    monkeypatch.setattr(forecast, "load_dataset", reading)
    monkeypatch.setattr(forecast, "_step_time", timing)
    settings = [{"data": {"subset": 200}, "training": {"seed": seed}} for seed in (0, 1)]
    chosen = choose_defaults(settings[0]).config
    assert trial_seconds(settings) == [0.25 * 8 * chosen.training.epochs] * 2
    assert timed == [chosen]
    assert chosen.training.batch_size == 32
    assert loaded == ["digits"]
