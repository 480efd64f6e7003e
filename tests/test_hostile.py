"""Broken, empty, huge, non-numeric, hostile and mislabelled files: one clear sentence, exit code 2, nothing written."""

import gzip
import os
import pickle
import re
import zipfile

import h5py
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from causalkit import connectivity, formats_dataset, infer, io, tables
from causalkit.cli import main
from causalkit.recording import from_array
from causalkit.series import readable_names

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"
CSV = b"time_ms,a,b\n0,1,2\n1,5,1\n2,3,3\n"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refused(capsys, path, *options):
    """Run the default command; return the one sentence, in which nothing steers a screen."""
    before = sorted(path.parent.iterdir())
    outputs = [word for suffix in infer.SUFFIXES for word in ("--out", path.parent / f"out{suffix}")]
    assert run("infer", path, *outputs, *options) == 2
    out, err = capsys.readouterr()
    assert err.startswith("causalkit: error: ") and err.count("\n") == 1 and len(err) < 2100, err
    assert err[:-1].isprintable() and out == ""
    assert sorted(path.parent.iterdir()) == before
    return err


def zipped(*names):
    def make(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")

    return make


def hdf5(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.eye(4)


def as_if_nwb(path):
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.7.0"


def cut_nwb(path):
    as_if_nwb(path)
    path.write_bytes(path.read_bytes()[:700])


def bomb(path):
    """4 GB that take 4 MB: more than half of a machine that has 1 GB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("activity.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_2_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 24, 8)})
            for _ in range(64):
                file.write(bytes(1 << 20))


def dump(path):
    path.write_bytes(pickle.dumps({"activity": np.eye(3)}))


def pickled_npz(path):
    np.savez(path, activity=np.array([[os.system]], dtype=object))


def write(content):
    return lambda path: path.write_bytes(content)


MISLABELLED = [
    ("r.csv", zipped("[Content_Types].xml", "xl/workbook.xml"), "not a text file but an Excel workbook, whatever its"),
    ("r.csv", lambda p: np.savez(p.open("wb"), x=np.eye(3)), "but an .npz archive, .*give it the suffix .npz"),
    ("r.csv", hdf5, "not a text file but HDF5, .*suffix .nwb or .nc"),
    ("r.csv", write(gzip.compress(CSV)), "not a text file but gzip"),
    ("r.tsv", write(b"%PDF-1.4"), "not a text file but a PDF"),
    ("r.csv", dump, "not a text file but a Python pickle"),
    ("r.npz", write(CSV), "not a complete .npz archive"),
    ("r.npz", dump, "not a complete .npz archive"),
    ("r.npz", lambda p: np.save(p.open("wb"), np.eye(3)), "not a complete .npz archive"),
    ("r.npz", zipped("[Content_Types].xml"), "not a complete .npz archive|has no activity"),
    ("r.npz", pickled_npz, "pickled Python objects, which could run any code"),
    ("r.nc", write(CSV), "cannot be read as netCDF"),
    ("r.nc", hdf5, r"no activity \(time, neuron\)"),
    ("r.nwb", write(CSV), "cannot be read as NWB"),
    ("r.nwb", hdf5, "is HDF5 but not NWB"),
    ("r.nwb", as_if_nwb, "cannot be read as NWB|read with the package pynwb"),
    ("r.nwb", zipped("x"), "cannot be read as NWB, it is a zip archive"),
    ("r.h5", hdf5, "is HDF5 but not NWB"),
    ("r.zarr", write(CSV), "zarr is a folder or a zip file"),
    ("r.mat", write(b"MATLAB 5.0"), "recordings are read from .npz, .*not from .mat"),
    ("r", write(CSV), "not from files without suffix"),
    ("r.nwb", lambda p: p.mkdir(), "is a folder without v_alltimes.txt"),
    ("r.csv", os.mkfifo, "is no file but a device, pipe or socket"),
]  # fmt: skip


@pytest.mark.parametrize("name, make, message", MISLABELLED)
def test_mislabelled_files(tmp_path, capsys, name, make, message):
    make(tmp_path / name)
    error = refused(capsys, tmp_path / name)
    assert re.search(message, error), error


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.txt", "r.npz", "r.nc", "r.nwb", "r.zarr", "r.zarr.zip"])
@pytest.mark.parametrize("content", [b"", PNG, b"\x00" * 4000], ids=["empty", "image", "zeros"])
def test_empty_and_foreign_files_of_every_suffix(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    error = refused(capsys, tmp_path / name)
    assert name in error and ": " in error.removeprefix("causalkit: error: ")


@pytest.mark.parametrize(
    "name, make, message",
    [
        ("r.csv", write(b"time_ms,a,b\n0,hello,2\n1,5,1\n2,3,3\n"), "'hello' is not a number"),
        ("r.csv", write(b"time_ms,a,b\n0,\x1b[31mred,2\n1,5,1\n"), "is not a number"),
        ("r.csv", write("a,b\n".encode("utf-16")), "not a text file in UTF-8 but in UTF-16, which Excel calls"),
        ("r.csv", write("time_ms,ä,b\n0,1,2\n".encode("latin1")), "not a text file in UTF-8 but in another encoding"),
        ("r.csv", write(b"<html><table>1</table></html>\n"), "not a text file but a web page"),
        ("r.csv", write(b'{"a": [1, 2, 3]}\n'), "not a text file but JSON"),
        ("r.nwb", write(b"version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer without its data"),
        ("r.csv", write(b"a,0.5,1.5\nb,0.2,0.1\n"), "with a neuron in each row it has to be transposed"),
        ("r.csv", write(b"time,a,b\n2024-01-01 00:00,1,2\n2024-01-02 00:00,2,1\n"), "write times as milliseconds"),
        ("r.csv", write(b"time_ms;a;b\n0;1.000,5;2\n1;2.000,5;1\n"), "'1.000,5' is not a number"),
        ("r.csv", write(b"sep=;\n"), "is empty"),
        ("r.npz", lambda p: np.savez(p, activity=np.eye(3), dt_ms=np.inf), "dt_ms in the file is inf"),
        ("r.npz", lambda p: np.savez(p, activity=np.full((9, 3), np.nan)), "27 NaN values"),
        ("r.npz", lambda p: np.savez(p, activity=np.eye(9), neuron=["a"]), "1 neuron names for 9 columns"),
        ("r.csv", write(b"time_ms,a,b\n0,1e999,2\n1,5,1\n2,3,3\n"), "1 infinite values in neurons"),
        ("r.csv", write(b"time_ms,a,b\n" + b"0,1\n" * 3), "line 2: 2 values"),
        ("r.npz", lambda p: np.savez(p, activity=np.array([["x", "y"]])), "numbers"),
        ("r.npz", lambda p: np.savez(p, activity=np.eye(3) * 1j), "numbers"),
        ("r.npz", lambda p: np.savez(p, activity=np.zeros((0, 3)), dt_ms=1), "is empty"),
        ("r.nc", lambda p: xr.Dataset({"activity": (("time", "neuron"), [["a", "b"]])}).to_netcdf(p), "numbers|text"),
        ("r.nwb", cut_nwb, "cannot be read as NWB"),
    ],
)
def test_broken_and_non_numeric_files(tmp_path, capsys, name, make, message):
    make(tmp_path / name)
    assert re.search(message, error := refused(capsys, tmp_path / name, "--dt-ms", 1)), error


def test_archives_that_unpack_to_more_than_the_memory(tmp_path, capsys, monkeypatch):
    bomb(tmp_path / "r.npz")
    assert (tmp_path / "r.npz").stat().st_size < 1 << 20
    monkeypatch.setattr("causalkit.formats.physical_memory", lambda: 1 << 26)
    assert "unpacks to 0.1 GiB, more than half of this machine's" in refused(capsys, tmp_path / "r.npz")


def test_text_that_is_too_much_to_be_read_at_once(tmp_path, capsys, monkeypatch):
    (tmp_path / "r.csv").write_bytes(CSV)
    monkeypatch.setattr(tables, "physical_memory", lambda: 20 * len(CSV) - 1)
    assert "which is read at once" in refused(capsys, tmp_path / "r.csv")


def huge_netcdf(path, n_times=10**12):
    with h5py.File(path, "w") as file:
        file.create_dataset("activity", (n_times, 4), "f4", chunks=(1 << 16, 4))
        for i, (name, size) in enumerate({"time": n_times, "neuron": 4}.items()):
            file.create_dataset(name, (size,), "f4", chunks=(min(size, 1 << 16),))
            file[name].make_scale(name)
            file["activity"].dims[i].attach_scale(file[name])
            file[name].make_scale("This is a netCDF dimension but not a netCDF variable.")
        file.attrs["dt_ms"] = 1.0


def test_a_huge_netcdf_is_refused_or_read_in_part(tmp_path, capsys):
    """4 TB in a few KB: no time step is written, all are fill value."""
    huge_netcdf(tmp_path / "r.nc")
    assert (tmp_path / "r.nc").stat().st_size < 1 << 17
    assert "GiB, more than half of this machine's" in refused(capsys, tmp_path / "r.nc")
    read = io.read(tmp_path / "r.nc", start=10**9, stop=10**9 + 50)
    assert read.sizes == {"time": 50, "neuron": 4} and read["time"].values[0] == 10**9


def test_large_netcdf_in_blocks_is_what_it_is_at_once(tmp_path, monkeypatch, rng):
    recording = from_array(rng.normal(size=(500, 3)), dt_ms=0.5, kind="other", trial=np.repeat([0, 1], [200, 300]))
    recording = recording.assign_coords(time=np.r_[np.arange(200), np.arange(300)] * 0.5)
    recording.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    options = {"neurons": ["n2", "n0"], "start": 20, "stop": 80, "resample_ms": 1}
    whole, parts = io.read(tmp_path / "r.nc"), io.read(tmp_path / "r.nc", **options)
    monkeypatch.setattr(formats_dataset, "WHOLE_BYTES", 100)
    xr.testing.assert_allclose(io.read(tmp_path / "r.nc"), whole)
    xr.testing.assert_allclose(io.read(tmp_path / "r.nc", **options), parts)


# --- hostile names

NAMES = [
    "=HYPERLINK(\"http://x\")", "+1+cmd", "-2+3", "@SUM(A1)", "<script>alert(1)</script>", "../../etc/passwd",
    "\x1b[31mred", "a\u202eb", "x" * 5000, "-1", "a&b\"'<!--", "NaN",
    "\N{GRINNING FACE}",
]  # fmt: skip


@pytest.fixture
def hostile(tmp_path):
    x = np.random.default_rng(0).normal(size=(2000, len(NAMES)))
    x[1:, 0] += x[:-1, 1]
    recording = from_array(x, kind="other", neurons=NAMES)
    io.write_recording(recording, tmp_path / "r.npz")
    return tmp_path / "r.npz"


def test_hostile_names_stay_text_everywhere(hostile, capsys):
    folder = hostile.parent
    outputs = [word for suffix in infer.SUFFIXES for word in ("--out", folder / f"out{suffix}")]
    assert run("infer", hostile, "--method", "mvgc", *outputs) == 0
    out, err = capsys.readouterr()
    assert err == "" and all(line.isprintable() for line in out.splitlines())
    assert run("infer", hostile, "--method", "mvgc", "--dry-run") == 0
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())
    names = connectivity.from_netcdf(folder / "out.nc")["source"].values.tolist()
    assert names == readable_names(NAMES) and all(name.isprintable() and len(name) <= 100 for name in names)
    assert "<script>alert(1)</script>" in names  # text is not cut out: who writes HTML escapes it
    table = pd.read_csv(folder / "out.csv", keep_default_na=False)
    for cell in {*table["source"], *table["target"]}:
        assert not cell.startswith(("=", "+", "@", "\t")) and (not cell.startswith("-") or cell == "-1")
    assert {cell.removeprefix("'") for cell in table["source"]} == set(names)
    assert set(pd.read_parquet(folder / "out.parquet")["source"]) == set(names)
    graph = nx.read_graphml(folder / "out.graphml")
    assert set(graph) == set(names) and graph.has_edge(names[1], names[0])
    assert sorted(p.name for p in folder.iterdir()) == ["out.csv", "out.graphml", "out.nc", "out.parquet", "r.npz"]


def test_names_that_become_alike_are_told_apart():
    assert readable_names(["a\x00", "a\x01", "b", "", "  "]) == ["a�", "a�#2", "b", "n3", "n4"]
    long = readable_names(["y" * 200, "y" * 300])
    assert len(set(long)) == 2 and long[0] == "y" * 99 + "…"
    assert readable_names(["a", "a"]) == ["a", "a"]  # the check of recordings refuses these


def test_what_is_asked_for_in_an_unsafe_way_is_only_looked_up(hostile, capsys):
    assert "leave --series out" in refused(capsys, hostile, "--series", "../../etc/passwd")
    assert "would be a table in an NWB file" in refused(capsys, hostile, "--epochs", "../\x1b[0m")


# --- all outputs or none


def test_when_one_of_several_outputs_fails_none_is_left(hostile, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device", "out.graphml")

    monkeypatch.setattr(nx, "write_graphml", fail)
    assert "No space left on device" in refused(capsys, hostile, "--method", "mvgc")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--fdr", "2"], "--fdr is 2.0"),
        (["--method", "all,mvgc"], "give it alone"),
        (["--method", "mvgc,mvgc"], "names a method twice"),
        (["--method", "mvgc,random", "--param", "order=2"], "--param belongs to one method"),
        (["--bin-ms", "5", "--resample-ms", "5"], "give one of them"),
        (["--bin-ms", "-5"], "bin_ms is -5.0"),
        (["--decay-ms", "-5"], "decay_ms is -5.0"),
        (["--resample-ms", "nan"], "resample_ms is nan"),
        (["--detrend", "sideways"], "use constant, linear, or highpass:SECONDS"),
        (["--method", "causalformer"], "causalformer has no p-values: write .csv"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_read(tmp_path, capsys, options, message):
    assert message in refused(capsys, tmp_path / "no_such_file.nwb", *options)
