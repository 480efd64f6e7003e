"""The page that a colleague opens: complete, safe whatever the names are, bounded in size, true to the package."""

import base64
import json
import re
import subprocess
import sys
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.stats import spearmanr

from causalkit import MVGC, PairwiseGranger, connectivity, from_array, io, report, significance, simulate
from causalkit.cli import main
from causalkit.reporting import Report, agreement, page, text

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</script><script>alert(3)</script>",
    "']];alert(4)//\u2028\u2029",
    "нейрон 5 \u202egnissorc",
    "x" * 5000,
    "a\x00b\nc",
    "<!--<script>",
]
VOID = {"meta", "img", "input", "circle", "path", "rect", "br", "hr", "link"}


class Page(HTMLParser):
    """What a browser would see: elements, their attributes and texts; fails on elements that are not closed."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.texts = [], [], {}
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def data(self):
        (found,) = [script for script in self.texts["script"] if script.startswith('{"names"')]
        return json.loads(found)


def numbers(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.fixture(scope="module")
def recording():
    return simulate.izhikevich(8, 0.3, 2500, random_state=3100)


@pytest.fixture(scope="module")
def result(recording):
    return PairwiseGranger().fit(recording).connectivity_


@pytest.fixture(scope="module")
def made(recording, result):
    return report(recording, result, title="A network", command="causalkit report a.nc --out b.html", source="a.nc")


def test_the_page_holds_every_part(made):
    seen = Page(made.html)
    assert isinstance(made, Report) and made.html.startswith("<!doctype html>")
    assert [a["id"] for a in seen.all("section")] == ["findings", "recording", "graph", "edges", "agreement", "again"]
    assert len(seen.all("h1")) == 1 and "A network" in seen.texts["bdi"]
    assert "causalkit report a.nc --out b.html" in seen.texts["code"]
    assert {a["href"] for a in seen.all("a")} == {"#main"} | {f"#{a['id']}" for a in seen.all("section")}
    assert all(a.get("alt") for a in seen.all("img"))
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in seen.all("svg"))
    ids = [a["id"] for _, a in seen.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert len(made.findings) == 7 and all(finding.text in " ".join(seen.texts["p"]) for finding in made.findings)


def test_nothing_is_loaded_from_elsewhere_and_only_its_own_scripts_run(made):
    seen = Page(made.html)
    for _, attributes in seen.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert "url(" not in made.html and "@import" not in made.html and "http://" not in made.html
    assert "https://" not in made.html
    (policy,) = [a["content"] for a in seen.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    scripts = [text for text in re.findall(r"<script>(.*?)</script>", made.html, re.S)]
    assert len(scripts) == 3
    for script in scripts:
        assert f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'" in policy


def test_the_page_says_what_the_package_says(made, result):
    data, seen = Page(made.html).data(), Page(made.html)
    n = result.sizes["target"]
    adjusted = significance.fdr(result.p_value).values
    off = ~np.eye(n, dtype=bool)
    np.testing.assert_array_equal(numbers(data["level"], "<f8").reshape(n, n)[off], adjusted[off])
    np.testing.assert_allclose(numbers(data["score"], "<f4").reshape(n, n)[off], result.score.values[off], rtol=1e-6)
    np.testing.assert_array_equal(numbers(data["sign"], "i1").reshape(n, n), result.sign.values)
    lag = result.lag.values[np.argmax(result.lag_score.values, axis=-1)]
    np.testing.assert_array_equal(numbers(data["lag"], "u1").reshape(n, n)[off], lag[off])
    for order in data["orders"].values():
        assert sorted(order) == list(range(n))
    graph = connectivity.adjacency(result, fdr=0.05)
    assert data["orders"]["out"][0] == int(graph.values.sum(axis=0).argmax())
    states = json.loads(seen.all("figure")[2]["data-states"])
    for rate, _, sentence in states:
        assert f": {int(connectivity.adjacency(result, fdr=rate).sum())} of {n * (n - 1)} possible" in sentence
    assert f"{int(graph.sum())}" in seen.texts["dd"]
    rows = [a for a in seen.all("tr") if "data-level" in a]
    inside = [a for a in rows if "class" not in a]
    assert len(inside) == int(graph.sum()) and all(float(a["data-level"]) <= 0.05 for a in inside)


def test_names_from_a_file_stay_text():
    x = simulate.var(len(HOSTILE), n_steps=400, random_state=3).activity.values
    hostile = from_array(x, neurons=HOSTILE, dt_ms=1)
    result = PairwiseGranger().fit(hostile).connectivity_
    made = report(hostile, result, title=HOSTILE[0], command=f"causalkit report '{HOSTILE[2]}'", source=HOSTILE[1])
    plain = report(from_array(x, dt_ms=1), result.assign_coords(
        target=[f"n{k}" for k in range(8)], source=[f"n{k}" for k in range(8)]
    ), title="t", command="c", source="s")  # fmt: skip
    seen, harmless = Page(made.html), Page(plain.html)
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in harmless.tags]  # no element comes from a name
    assert not [name for _, a in seen.tags for name in a if name.startswith("on")]
    assert HOSTILE[0] in seen.texts["bdi"] and HOSTILE[1] in seen.texts["bdi"] and HOSTILE[0] in seen.texts["option"]
    (data,) = [t for t in seen.texts["script"] if t.startswith('{"names"')]
    assert data.isascii() and not set("<>&") & set(data)
    assert seen.data()["names"][0] == HOSTILE[0] and len(max(seen.data()["names"], key=len)) == 60
    assert "x" * 61 not in made.html and "\x00" not in made.html


def test_names_are_one_short_line_that_can_be_written():
    assert text.clean("a\x00b\ud800c\nd").encode().decode() == "a\ufffdb\ufffdc\ufffdd"
    assert text.clean("y" * 61) == "y" * 59 + "…" and text.clean("нейрон") == "нейрон"
    assert json.loads(text.embedded(HOSTILE)) == HOSTILE


def test_scores_of_other_neurons_and_in_another_order(recording, result, made):
    with pytest.raises(ValueError, match="belong to another recording"):
        report(recording.isel(neuron=slice(0, 5)).drop_vars(["connectivity"]), result)
    with pytest.raises(ValueError, match="no score"):
        report(recording, recording)
    with pytest.raises(ValueError, match="fdr is 2"):
        report(recording, result, fdr=2)
    order = np.random.default_rng(0).permutation(8)
    again = report(recording, result.isel(target=order, source=order), title="A network", second_opinion=False)
    assert Page(again.html).data() == Page(made.html).data()


def test_methods_without_p_values_get_a_slider_for_the_share(recording, result):
    bare = result.drop_vars([name for name in result.data_vars if name != "score"])
    made = report(recording, bare, second_opinion=False)
    seen = Page(made.html)
    states = json.loads(seen.all("figure")[2]["data-states"])
    graph = connectivity.adjacency(result, density=0.1)
    assert [f": {int(graph.sum())} of 56" in sentence for rate, _, sentence in states if rate == 0.1] == [True]
    level = numbers(seen.data()["level"], "<f8").reshape(8, 8)
    for rate, _, _ in states:
        np.testing.assert_array_equal(level <= rate, connectivity.adjacency(result, density=rate).values)
    assert "No p-values" in made.html and "p" not in seen.data()


@pytest.mark.parametrize("n_neurons", [3, 60, 340])
def test_the_page_is_bounded(n_neurons):
    rng = np.random.default_rng(4)
    recording = from_array(rng.standard_normal((600, n_neurons)), dt_ms=1, kind="other")
    p = rng.random((n_neurons, n_neurons)) ** 6
    result = connectivity.build(
        1 - p, neurons=recording.neuron.values, method="test", p_value=p, sign=np.sign(rng.standard_normal(p.shape)),
        lag_score=rng.random((*p.shape, 5)),
    )  # fmt: skip
    made = report(recording, result, second_opinion=False)
    data = Page(made.html).data()
    assert len(data["names"]) == min(n_neurons, page.MOST_NEURONS)
    assert len(made.html.encode()) < 4e6
    assert made.html.count("data-pair") <= page.MOST_EDGES + 5  # the script and the style name it too
    n_edges = int(connectivity.adjacency(result, fdr=0.05).sum())
    assert f": {n_edges} of {n_neurons * (n_neurons - 1)} possible" in made.html
    if n_neurons > page.MOST_NEURONS:
        best = connectivity.to_frame(result.assign(score=1 - significance.fdr(result.p_value))).iloc[0]
        assert {best.source, best.target} <= set(data["names"])


def test_clusters_stand_together():
    score = np.kron(np.eye(3), np.ones((4, 4))) + 0.01 * np.random.default_rng(0).random((12, 12))
    group = np.repeat(range(3), 4)
    order = np.random.default_rng(1).permutation(12)
    found = group[order][page._clustered(score[np.ix_(order, order)])]
    assert (np.diff(found) != 0).sum() == 2


def test_agreement_is_that_of_independent_formulas(recording, result):
    other = MVGC(order=3).fit(recording).connectivity_
    found = agreement.compare(result, other, 0.05)
    off = ~np.eye(8, dtype=bool)
    one, two = (connectivity.adjacency(c, fdr=0.05).values for c in (result, other))
    expected = spearmanr(result.score.values[off], other.score.values[off]).statistic
    assert found["rank_correlation"] == pytest.approx(expected)
    assert found["both"] + found["only_first"] == one.sum() and found["both"] + found["only_second"] == two.sum()
    assert found["jaccard"] == pytest.approx((one & two).sum() / (one | two).sum())
    itself = agreement.compare(result, result.isel(target=slice(None, None, -1)), 0.05)
    assert itself["rank_correlation"] == pytest.approx(1) and itself["jaccard"] == 1 and itself["same_sign"] == 1


def test_a_comparison_that_cannot_be_made_is_told(result):
    recording = simulate.izhikevich(8, 0.3, 60, random_state=3100)
    made = report(recording, result)
    assert "not compared" in made.html and "mvgc:" in made.html


def test_the_command_writes_the_page_of_given_scores(tmp_path, recording, result, capsys):
    io.write_recording(recording, tmp_path / "r.nc")
    connectivity.to_netcdf(result, tmp_path / "s.nc")
    words = ["report", str(tmp_path / "r.nc"), "--scores", str(tmp_path / "s.nc"), "--out", str(tmp_path / "p.html")]
    assert main(words) == 0
    assert "pairwise_granger of 8 neurons" in capsys.readouterr().out
    html = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "causalkit report" in html and "--scores" in html
    assert main(words) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--method", "mvgc"]) == 2
    assert "leave one out" in capsys.readouterr().err


def test_the_command_fits_when_no_scores_are_given(tmp_path, capsys):
    spikes = simulate.observe_spikes(simulate.izhikevich(4, 0.4, 3000, random_state=3))
    io.write_recording(spikes, tmp_path / "r.npz")
    assert main(["report", str(tmp_path / "r.npz"), "--out", str(tmp_path / "p.html")]) == 0
    assert "spike_index of 4 neurons" in capsys.readouterr().out
    assert "spike_index and mvgc" in (tmp_path / "p.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,x\n", b"\x00\xff" * 40, b"a,b\n1,1\n1,1\n"])
def test_broken_files_leave_nothing_behind(tmp_path, capsys, content):
    (tmp_path / "r.csv").write_bytes(content)
    before = sorted(tmp_path.iterdir())
    assert main(["report", str(tmp_path / "r.csv"), "--dt-ms", "1", "--out", str(tmp_path / "p.html")]) == 2
    assert "causalkit: error:" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_style_and_script_are_installed_with_the_package():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"]["causalkit.reporting"] == ["*.css", "*.js"]


def test_reporting_is_found_and_report_is_the_function():
    code = "import causalkit, causalkit.reporting; assert callable(causalkit.report); assert callable(causalkit.report)"
    subprocess.run([sys.executable, "-c", code], check=True)
