"""Large text and .npz read in blocks are what they are at once, with the same refusals, and without their size."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr

from causalkit import formats_streams, from_array, io


@pytest.fixture
def large(monkeypatch):
    """Everything is large."""
    monkeypatch.setattr(formats_streams, "WHOLE_TEXT", 10)
    monkeypatch.setattr(formats_streams, "WHOLE_ARRAY", 10)
    monkeypatch.setattr(formats_streams, "ROWS", 64)


def both(path, monkeypatch, **options):
    """The recording as read whole, and as read in blocks."""
    with monkeypatch.context() as small:
        small.setattr(formats_streams, "WHOLE_TEXT", 1 << 40)
        small.setattr(formats_streams, "WHOLE_ARRAY", 1 << 40)
        whole = io.read(path, **options)
    return whole, io.read(path, **options)


def alike(one, other):
    np.testing.assert_array_equal(one["activity"], other["activity"])
    np.testing.assert_allclose(one["time"], other["time"])
    assert one["neuron"].values.tolist() == other["neuron"].values.tolist()
    assert (one.attrs["kind"], one.attrs["dt_ms"]) == (other.attrs["kind"], other.attrs["dt_ms"])
    assert ("trial" in one) == ("trial" in other)
    if "trial" in one:
        np.testing.assert_array_equal(one["trial"], other["trial"])


@pytest.mark.parametrize("form", ["plain", "semicolons", "windows", "trials", "unnamed"])
@pytest.mark.parametrize("options", [{}, {"start": 30, "stop": 400.5}, {"start": 150}])
def test_text_in_blocks_is_what_it_is_at_once(tmp_path, monkeypatch, rng, large, form, options):
    x = rng.standard_normal((500, 3)).round(3)
    x[7, 1] = np.nan
    rows = [["" if np.isnan(v) else f"{v:g}" for v in row] for row in x]
    sign, end, header = ",", "\n", ["time_ms", "a", "b", "c"]
    times = [f"{t * 2}" for t in range(500)]
    if form == "semicolons":
        rows, sign, header = [[v.replace(".", ",") for v in row] for row in rows], ";", ["Time [ms]", "ä", "b 2", "c"]
    if form == "windows":
        end = "\r\n"
    if form == "trials":
        header = ["trial", *header]
        times = [f"{t // 250},{t % 250 * 2}" for t in range(500)]
    lines = [sign.join([time, *row]) for time, row in zip(times, rows, strict=True)]
    lines = ["# a comment", sign.join(header), *lines[:40], "", *lines[40:]]
    if form == "unnamed":
        lines, options = [sign.join(row) for row in rows], options | {"dt_ms": 2}
    path = tmp_path / "r.csv"
    path.write_bytes(b"\xef\xbb\xbf" * (form == "windows") + (end.join(lines) + end).encode())
    alike(*both(path, monkeypatch, **options))
    if form != "unnamed":
        assert io.read(path, neurons=["c"], **options)["neuron"].values.tolist() == ["c"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("options", [{}, {"start": 30, "stop": 400}, {"neurons": ["y", "x"]}, {"resample_ms": 4}])
def test_archives_in_blocks_are_what_they_are_at_once(tmp_path, monkeypatch, rng, large, compressed, options):
    recording = from_array(rng.standard_normal((900, 3)), dt_ms=2, kind="other", neurons=["x", "y", "z"],
                           trial=np.repeat([0, 1], 450) if "start" in options else None)  # fmt: skip
    path = tmp_path / "r.npz"
    if compressed:
        io.write_recording(recording, path)
    else:
        np.savez(path, activity=recording.activity, neuron=["x", "y", "z"], dt_ms=2, kind="other",
                 **({"trial": recording.trial} if "trial" in recording else {}))  # fmt: skip
    whole, parts = both(path, monkeypatch, **options)
    if "resample_ms" in options:
        xr.testing.assert_allclose(whole.activity, parts.activity, atol=1e-5)
    else:
        alike(whole, parts)


def test_replicates_in_blocks_are_trials(tmp_path, monkeypatch, rng, large):
    np.savez(tmp_path / "r.npz", x=rng.standard_normal((4, 100, 3)), dt_ms=1)
    alike(*both(tmp_path / "r.npz", monkeypatch))


def write_rows(path, *rows):
    path.write_text("time_ms,a,b\n" + "".join(f"{t},{t % 7},{t % 5}\n" for t in range(200)) + "".join(rows))


@pytest.mark.parametrize(
    "rows, message",
    [
        (["200,1\n"], "line 202: 2 values, where the first row has 3"),
        (["200,1,red\n"], "line 202, column 'b': 'red' is not a number"),
        (["200,1,2\n", "203,1,2\n"], "time steps are uneven"),
        ([",1,2\n"], "'time_ms' has no value in data row 201"),
        (["200,1,\x00\n"], "line 202, is not text"),
    ],
)
def test_faults_far_down_are_found(tmp_path, large, rows, message):
    write_rows(tmp_path / "r.csv", *rows)
    with pytest.raises(ValueError, match=message):
        io.read(tmp_path / "r.csv")


def test_counts_of_rows_are_no_neuron_in_blocks_either(tmp_path, large):
    lines = [f"{t},{t % 7},{3 * t + 1}" for t in range(300)]
    (tmp_path / "r.csv").write_text("\n".join(["time_ms,a,b", *lines, ""]))
    with pytest.raises(ValueError, match="'b' looks like times or row numbers"):
        io.read(tmp_path / "r.csv")
    lines[250] = "250,1,3"
    (tmp_path / "r.csv").write_text("\n".join(["time_ms,a,b", *lines, ""]))
    assert io.read(tmp_path / "r.csv")["neuron"].values.tolist() == ["a", "b"]


def test_archives_cut_short_or_of_another_size_are_refused(tmp_path, large):
    path = tmp_path / "r.npz"
    np.savez(path, activity=np.random.default_rng(0).standard_normal((300, 3)), dt_ms=1)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"(300, 3)", b"(900, 3)"))
    with pytest.raises(ValueError, match="another size than its shape|not a complete"):
        io.read(path)
    path.write_bytes(whole[:3000] + bytes(400) + whole[3400:])  # the sum of the bytes does not fit
    with pytest.raises(ValueError, match="damaged|not a complete"):
        io.read(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a complete"):
        io.read(path)


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, suffix):
    """A twentieth is asked for of 6 MB of text, or of 16 MB in an archive: less than the file is ever held."""
    monkeypatch.setattr(formats_streams, "WHOLE_TEXT", 1 << 20)
    monkeypatch.setattr(formats_streams, "WHOLE_ARRAY", 1 << 20)
    monkeypatch.setattr("causalkit.series.BLOCK_BYTES", 1 << 20)
    x, path = np.random.default_rng(0).standard_normal((100_000, 20)), tmp_path / f"r{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, activity=x, dt_ms=1)
    else:
        x = x[:30_000].round(6)
        np.savetxt(path, x, fmt="%.6f", delimiter=",")
    n_rows = len(x)
    tracemalloc.start()
    read = io.read(path, dt_ms=1, start=n_rows / 2, stop=n_rows * 0.55)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(read.activity, x[n_rows // 2 : n_rows * 11 // 20].astype(np.float32))
    assert peak < 8e6, peak
