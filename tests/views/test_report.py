"""The HTML report: self-contained, every plot drawn, readable on narrow and wide screens."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from revgn.errors import RunError, UsageError
from revgn.settings import build_config, config_dict
from revgn.store import create_run, open_run
from revgn.views import write_report
from revgn.views.figures import thinned
from revgn.views.groups import Group
from revgn.views.report import Preface

pytest.importorskip("plotly")

EVIL = "<script>window.evil = 1</script>\"'&<img src=x onerror='window.evil = 1'>"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture
def make_run(tmp_path, provenance):
    def make(folder, steps=30, seed=0, **optimizer):
        config = config_dict(build_config({"optimizer": optimizer, "training": {"seed": seed}}))
        about = replace(provenance, config=config, title=EVIL, command=f"revgn train {EVIL}", data_name=EVIL)
        with create_run(tmp_path / folder, about) as writer:
            for step in range(1, steps + 1):
                record = {"loss": 1 / step, "rho": 1e-6 * step, "rank": 64 + step % 3, "seconds": 0.01}
                parts = {"seconds_forward": 0.004, "seconds_solve": 0.006, "epoch": step / 10}
                writer.record_step({"step": step, "samples": 64 * step, "memory": 5e8, **record, **parts})
            for epoch in range(4):
                figures = {"train_loss": 2.0**-epoch, "test_loss": 1.9**-epoch + seed / 10}
                hits = {"train_accuracy": 0.3 * epoch, "test_accuracy": 0.25 * epoch}
                along = {"step": 10 * epoch, "samples": 640 * epoch, "seconds": 0.1 * epoch}
                writer.record_epoch({"epoch": epoch, **figures, **hits, **along})
        return open_run(tmp_path / folder)

    return make


@pytest.fixture
def runs(make_run):
    kinds = [("gn", {"solver": {"damping": 0.1}}), ("adam", {"kind": "adam"})]
    return [make_run(f"{name}-{seed}", seed=seed, **kind) for name, kind in kinds for seed in (0, 1)]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("requires chromium and chromedriver, for instance from Debian")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
        f"user-data-dir={tmp_path_factory.mktemp('browser') / 'profile'}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(started):
    """The browser of all tests, with empty logs."""
    for log in ("browser", "performance"):
        started.get_log(log)
    return started


def test_the_preface_comes_first_and_is_escaped(runs, tmp_path):
    preface = Preface("A title", ["Why?", EVIL], ["claim", "verdict"], [[EVIL, "agrees"]])
    groups = [Group("own name", {}, tuple(runs[:2])), Group("other name", {}, tuple(runs[2:]))]
    write_report(runs, tmp_path / "r.html", preface=preface, groups=groups)
    body = (tmp_path / "r.html").read_text().partition("<body>")[2]
    assert body.startswith("<h1>A title</h1>\n<p>Why?</p>")
    assert "<td>agrees</td>" in body.partition("<h2>")[0]
    assert EVIL not in body
    assert body.count("other name") > 3


def test_quantities_of_analysed_runs_are_drawn(make_run, provenance, tmp_path):
    config = config_dict(build_config({}))
    with create_run(tmp_path / "analysed", replace(provenance, config=config)) as writer:
        for step in (1, 2):
            writer.record_step(
                {"step": step, "epoch": step, "loss": 1.0, "loss_decrease": 0.1, "loss_decrease_other": 0.05}
            )
        for epoch in (0, 1):
            figures = {"train_loss": 1.0, "test_loss": 1.0, "kernel_similarity": 1 - 0.1 * epoch}
            writer.record_epoch({"epoch": epoch, "step": epoch, **figures})
    write_report([open_run(tmp_path / "analysed")], tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert all(
        f'id="figure-{name}"' in page
        for name in ("kernel_similarity", "loss_decrease", "loss_decrease_other")
    )
    assert "Loss decrease of each step" in page
    write_report([make_run("bare")], tmp_path / "b.html")
    bare = (tmp_path / "b.html").read_text()
    assert "figure-kernel_similarity" not in bare
    assert "Loss decrease of each step" not in bare


def requests(browser):
    """Return the addresses that the page requested."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    sent = [each["request"]["url"] for each in asked if each["documentURL"].startswith("file:")]
    return [url for url in sent if not url.startswith(("data:", "blob:"))]


def at_width(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 100))")


DRAWN = r"""
return [...document.querySelectorAll('.figure')].map((figure) => {
  const box = figure.getBoundingClientRect();
  const drawn = figure.querySelector('.main-svg').getBoundingClientRect();
  const texts = [...figure.querySelectorAll('.main-svg text')].map((text) => text.getBoundingClientRect());
  const inside = texts.filter((text) => text.width > 0);
  return {
    name: figure.id, cell: [box.left, box.right, box.top, box.bottom],
    svg: [drawn.left, drawn.right, drawn.top, drawn.bottom],
    texts: [Math.min(...inside.map((text) => text.left)), Math.max(...inside.map((text) => text.right)),
            Math.min(...inside.map((text) => text.top)), Math.max(...inside.map((text) => text.bottom))],
    curves: figure.querySelectorAll('.scatterlayer .trace').length,
    ticks: [...figure.querySelectorAll('.ytick text, .xtick text')].map((text) => text.textContent),
  };
})
"""


HAS_PLOTS = """
const figures = [...document.querySelectorAll('.figure')];
return figures.length > 0 && figures.every((figure) => figure.querySelector('.main-svg'));
"""


def open_page(browser, path):
    """Open a report and wait up to half a minute for its plots: a loaded page may still be empty."""
    browser.get(path.as_uri())
    for _ in range(300):
        if browser.execute_script(HAS_PLOTS):
            break
        browser.execute_async_script("setTimeout(arguments[0], 100)")


def drawn(browser):
    """Return the plots as soon as each fills its cell, or as they are after half a minute."""
    for _ in range(300):
        figures = browser.execute_script(DRAWN)
        if all(figure["svg"] == pytest.approx(figure["cell"], abs=1) for figure in figures):
            break
        browser.execute_async_script("setTimeout(arguments[0], 100)")
    return figures


PARTS = ("loss", "accuracy", "rho", "residual", "rank", "step_norm", "loss_decrease", "loss_decrease_test")


@pytest.fixture
def every_kind(make_run, provenance, tmp_path):
    """Two runs with a figure of each kind in each section: one alone, two and three in a row."""

    def make(name, seed):
        config = config_dict(build_config({"training": {"seed": seed}, "optimizer": {"lr": 0.1 + seed}}))
        with create_run(tmp_path / name, replace(provenance, config=config)) as writer:
            for step in range(1, 40):
                own = {"rho": 5.5e-7 / step, "residual": 2e-6, "rank": 10 + seed, "step_norm": 1e6 / step}
                memory = {"loss_decrease": 1e-7 * step, "loss_decrease_test": 2e-6 * step - 1e-5}
                writer.record_step({"step": step, "epoch": step / 10, "samples": 9e4 * step, **own, **memory})
            for epoch in range(4):
                found = {f"{part}_loss": 2.0**-epoch + seed for part in ("train", "test")}
                found |= {"test_accuracy": 0.2 * epoch, "kernel_similarity": 1 - 1e-6 * epoch}
                writer.record_epoch({"epoch": epoch, "step": 10 * epoch, "samples": 9e5 * epoch, **found})
        return open_run(tmp_path / name)

    return [make("a", 0), make("b", 1)]


def is_within(inner, outer, slack=1.0):
    return (
        inner[0] >= outer[0] - slack
        and inner[1] <= outer[1] + slack
        and inner[2] >= outer[2] - slack
        and inner[3] <= outer[3] + slack
    )


def check_drawn(figures, names):
    """Each plot fills its cell, with all of its text; no cell overlaps another."""
    assert [figure["name"] for figure in figures] == [f"figure-{name}" for name in names]
    for figure in figures:
        assert figure["svg"] == pytest.approx(figure["cell"], abs=1), figure["name"]
        assert is_within(figure["texts"], figure["cell"]), figure["name"]
        assert figure["curves"] >= 2
        assert not [tick for tick in figure["ticks"] if re.search(r"[yzafpnuμµmkMGTPEZY]$", tick)]
    for i, one in enumerate(figures):
        for other in figures[:i]:
            (a, b, c, d), (e, f, g, h) = one["cell"], other["cell"]
            assert b <= e or f <= a or d <= g or h <= c


def test_each_plot_fills_its_cell_at_any_width(browser, every_kind, tmp_path):
    """Both where the page is loaded at a width, and where the window is resized afterwards."""
    path, names = tmp_path / "report.html", [*PARTS, "kernel_similarity"]
    write_report(every_kind, path)
    for first, *resized in ((1300, 360, 1920, 760, 1024), (480,)):
        at_width(browser, first)
        open_page(browser, path)
        for width in (first, *resized):
            if width != first:
                at_width(browser, width)
            figures = drawn(browser)
            check_drawn(figures, names)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            widest = max(figure["cell"][1] - figure["cell"][0] for figure in figures)
            assert widest > 0.9 * min(width - 28, 1200)
            ticks = {each["name"]: " ".join(each["ticks"]).replace("\u200b", "") for each in figures}
            assert "10\N{MINUS SIGN}7" in ticks["figure-rho"]
            assert "\N{MULTIPLICATION SIGN}10\N{MINUS SIGN}6" in ticks["figure-loss_decrease"]


def test_in_a_browser(browser, runs, tmp_path):
    path = tmp_path / "report.html"
    write_report(runs, path)
    open_page(browser, path)
    assert len(browser.find_elements("css selector", ".figure")) == 4  # loss, accuracy, rho, rank
    for width in (400, 1400):
        at_width(browser, width)
        size = browser.execute_script("return parseFloat(getComputedStyle(document.body).fontSize)")
        assert size >= 14
    first = browser.find_element("css selector", ".legend button")
    shown = "return [...document.querySelectorAll('.figure')].map(f => f.querySelectorAll('.trace').length)"
    for curves in ([8, 8, 4, 4], [4, 4, 2, 2], [8, 8, 4, 4]):
        assert browser.execute_script(shown) == curves
        first.click()
    before = browser.execute_script("return document.querySelector('.figure').data[0].x")
    browser.find_element("css selector", "input[value=samples]").click()
    after = browser.execute_script(
        "const f = document.querySelector('.figure'); return [f.data[0].x, f.layout.xaxis.title.text]"
    )
    assert (before, after) == ([0, 1, 2, 3], [[0, 640, 1280, 1920], "training samples processed"])
    assert browser.execute_script("return window.evil") is None
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    assert requests(browser) == [path.as_uri()]


def test_the_page_is_self_contained_and_complete(runs, tmp_path):
    path = tmp_path / "report.html"
    write_report(runs, path)
    page = path.read_text()
    assert 4e6 < path.stat().st_size < 7e6
    body = page[page.index("<body>") :]
    assert "<script>window.evil" not in body
    assert "<img" not in body
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", body)
    for words in (
        "gauss-newton, damping 0.1, lr 1.0",
        "75.00 %",
        "numpy",
        "revgn train",
        "config.toml",
        "60%",
    ):
        assert words in body
    assert body.count('<tr class="differs">') >= 2
    assert "<td>0, 1</td>" in body


def test_the_report_of_a_long_run_stays_small(make_run, tmp_path):
    write_report([make_run("long", steps=20_000)], tmp_path / "long.html")
    write_report([make_run("short", steps=20)], tmp_path / "short.html")
    assert (tmp_path / "long.html").stat().st_size - (tmp_path / "short.html").stat().st_size < 1e6


@given(arrays(np.float64, st.integers(0, 300), elements=st.floats(-1e9, 1e9)), st.integers(2, 40))
def test_thinning_keeps_the_extremes(y, most):
    kept = thinned(np.arange(y.size), y, 2 * most)
    assert kept.size <= max(2 * most, 0)
    assert np.all(np.diff(kept) > 0)
    if y.size:
        assert (y[kept].max(), y[kept].min()) == (y.max(), y.min())


def test_a_run_without_measurements(tmp_path, provenance):
    create_run(tmp_path / "run", replace(provenance, config=config_dict(build_config()))).close(
        "failed", EVIL
    )
    write_report([open_run(tmp_path / "run")], tmp_path / "report.html")
    assert "1 failed" in (tmp_path / "report.html").read_text()


def test_invalid_paths_are_rejected(runs, tmp_path):
    with pytest.raises(UsageError, match=r"expected \.html"):
        write_report(runs, tmp_path / "report.pdf")
    with pytest.raises(RunError, match="cannot be written"):
        write_report(runs, tmp_path / "nowhere" / "report.html")
