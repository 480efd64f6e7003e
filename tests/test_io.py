"""Reading and writing recordings: every format, every refusal."""

import os
import zipfile

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from causalkit import io, simulate
from causalkit.recording import from_array

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"


@pytest.fixture(scope="module")
def network():
    return simulate.izhikevich(n_neurons=5, n_steps=300, random_state=3)


def activity(recording):
    return recording["activity"].values.tolist()


# --- round trips


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_everything_survives_npz_and_netcdf(network, tmp_path, suffix):
    io.write_recording(network, tmp_path / f"r{suffix}")
    xr.testing.assert_identical(io.read(tmp_path / f"r{suffix}"), network)


def test_csv_keeps_names_times_and_every_bit_of_the_activity(network, tmp_path):
    shifted = network.assign_coords(time=network["time"] + 120)
    io.write_recording(shifted, tmp_path / "r.csv")
    read = io.read(tmp_path / "r.csv")
    xr.testing.assert_equal(read["activity"], shifted["activity"])
    assert read.attrs["dt_ms"] == 1 and read.attrs["kind"] == "voltage"


@pytest.mark.parametrize("suffix", [".npz", ".nc", ".csv"])
def test_trials_survive(tmp_path, suffix):
    x = np.random.default_rng(0).normal(size=(12, 3))
    recording = from_array(x, dt_ms=0.5, kind="calcium", trial=np.repeat([0, 1, 4], 4))
    recording = recording.assign_coords(time=np.tile(np.arange(4) * 0.5, 3))
    io.write_recording(recording, tmp_path / f"r{suffix}")
    read = io.read(tmp_path / f"r{suffix}", kind="calcium")
    xr.testing.assert_equal(read, recording)
    assert read.attrs["dt_ms"] == 0.5


def test_netcdf_as_xarray_writes_it(network, tmp_path):
    network.to_netcdf(tmp_path / "plain.nc", engine="h5netcdf")
    xr.testing.assert_equal(io.read(tmp_path / "plain.nc"), network)
    simple = network[["activity"]].drop_vars("neuron").transpose("neuron", "time")
    simple.attrs = {}
    simple.to_netcdf(tmp_path / "classic.nc", engine="scipy")
    read = io.read(tmp_path / "classic.nc", kind="other")
    assert activity(read) == activity(network) and read.attrs == {"kind": "other", "dt_ms": 1.0}


@settings(max_examples=25)
@given(
    values=arrays(
        np.float32,
        st.tuples(st.integers(2, 6), st.integers(1, 4)),
        elements=st.floats(-(2.0**90), 2.0**90, width=32),
    ),
    dt_ms=st.sampled_from([0.05, 0.1, 1.0, 1 / 3, 33.3, 1000.0]),
    suffix=st.sampled_from([".npz", ".nc", ".csv"]),
)
def test_any_numbers_round_trip(tmp_path_factory, values, dt_ms, suffix):
    path = tmp_path_factory.mktemp("any") / f"r{suffix}"
    recording = from_array(values, dt_ms=dt_ms, more_neurons_than_times=True)
    io.write_recording(recording, path)
    read = io.read(path)
    np.testing.assert_array_equal(read["activity"], values)
    assert read.attrs["dt_ms"] == pytest.approx(dt_ms, rel=1e-6)
    assert list(path.parent.iterdir()) == [path]


# --- npz


def test_simulated_voltage_is_clipped_and_kept_raw(tmp_path):
    v = np.array([[-65.0, 200.0], [30.0, -60.0], [31.0, -50.0]])
    np.savez(tmp_path / "v.npz", v=v, spikes=np.array([[0, 1], [2, 0]]), connectivity=[[0, -5], [5, 0]])
    read = io.read(tmp_path / "v.npz", dt_ms=1)
    assert activity(read) == [[-65, 30], [30, -60], [30, -50]]
    assert read["voltage_mv"].values.tolist() == v.tolist()
    assert read["spikes"].values.tolist() == [[False, True], [False, False], [True, False]]
    assert read["connectivity"].sel(target="n0", source="n1") == -5
    assert activity(io.read(tmp_path / "v.npz", dt_ms=1, kind="other")) == v.tolist()


def test_voltage_under_another_key_is_not_clipped(tmp_path):
    np.savez(tmp_path / "x.npz", x=[[0.0, 200.0], [1.0, 2.0], [5.0, 3.0]], dt_ms=2)
    read = io.read(tmp_path / "x.npz")
    assert read["activity"].values.max() == 200 and "voltage_mv" not in read and read.attrs["dt_ms"] == 2


def test_npz_with_trials_names_and_seconds(tmp_path):
    x = np.arange(24.0).reshape(2, 4, 3)
    np.savez(
        tmp_path / "x.npz", x=x, adj=np.eye(3), neuron=["a", "b", "c"], kind="spikes", time_s=[0, 0.01, 0.02, 0.03] * 2
    )
    read = io.read(tmp_path / "x.npz")
    assert read["trial"].values.tolist() == [0] * 4 + [1] * 4 and activity(read) == x.reshape(8, 3).tolist()
    assert read.attrs == {"kind": "spikes", "dt_ms": 10.0} and read["time"].values.tolist() == [0, 10, 20, 30] * 2
    assert read["neuron"].values.tolist() == ["a", "b", "c"]


def pickled(path):
    np.savez(path, activity=np.array([[{"not": "numbers"}]], dtype=object))


def truncated(path):
    np.savez(path, activity=np.zeros((100, 100)))
    path.write_bytes(path.read_bytes()[:5000])


def damaged(path):
    np.savez_compressed(path, activity=np.random.default_rng(0).normal(size=(100, 100)))
    raw = bytearray(path.read_bytes())
    raw[2000:2400] = bytes(400)
    path.write_bytes(raw)


def not_numpy(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("activity.npy", "hello")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: p.write_bytes(PNG), "not a complete .npz archive .*another kind of file"),
        (lambda p: p.write_bytes(b""), "not a complete .npz archive"),
        (truncated, "not a complete .npz archive .*cut off"),
        (damaged, "not a complete .npz archive"),
        (not_numpy, "not a complete .npz archive"),
        (pickled, "'activity' holds pickled Python objects"),
        (lambda p: np.savez(p, weights=np.zeros(3)), "has no activity, v, x, data but weights: save the recording"),
        (lambda p: np.savez(p, activity=[["a", "b"]]), "'activity' has shape .1, 2. and type <U1: .*numbers"),
        (lambda p: np.savez(p, activity=np.zeros(9)), r"'activity' has shape \(9,\)"),
        (lambda p: np.savez(p, x=np.eye(4), spikes=[[4, 0]]), "outside activity of shape"),
        (lambda p: np.savez(p, x=np.eye(4), spikes=[[0.5, 0]]), "spikes has shape .1, 2. and type float64"),
        (lambda p: np.savez(p, x=np.eye(4), connectivity=np.eye(3)), "connectivity has shape"),
        (lambda p: np.savez(p, x=np.eye(4), neuron=["a", "a", "b", "c"]), "more than once"),
        (lambda p: np.savez(p, x=np.eye(4), kind="smell"), "kind is 'smell'"),
        (lambda p: np.savez(p, x=np.eye(4), time_ms=[0, 1]), "a number for each of 4 rows"),
        (lambda p: np.savez(p, x=np.eye(6), time_ms=range(5), trial=[0] * 6), "a number for each of 6 rows"),
        (lambda p: np.savez(p, x=np.eye(4), time_ms=range(4), trial=[0] * 6), r"trial has shape \(6,\)"),
        (lambda p: np.savez(p, x=np.eye(3), time_ms=range(3), trial=list("aab")), "trial .*give a whole number"),
        (lambda p: np.savez(p, x=np.eye(4), dt_ms=[1, 2]), r"dt_ms in the file is \[1, 2\]: give one number"),
        (lambda p: np.savez(p, x=np.eye(4), dt_ms="1 ms"), "dt_ms in the file is '1 ms': give one number"),
        (lambda p: np.savez(p, x=np.eye(4), kind=["voltage", "spikes"]), r"kind is \['voltage', 'spikes'\]"),
        (lambda p: np.savez(p, x=np.eye(4), attributes="[1, 2]"), "'attributes' is not a JSON object"),
        (lambda p: np.savez(p, x=np.eye(4), attributes="no JSON"), "'attributes' is not a JSON object"),
        (lambda p: np.savez(p, x=-np.eye(4), kind="spikes"), "kind is 'spikes' but activity goes down to -1"),
    ],
)
def test_bad_npz_is_refused_with_a_reason(tmp_path, make, message):
    path = tmp_path / "bad.npz"
    make(path)
    with pytest.raises(ValueError, match=message) as caught:
        io.read(path, dt_ms=1)
    assert str(path) in str(caught.value)


# --- netCDF


@pytest.mark.parametrize(
    "units, dt_ms",
    [
        ("ms", 2), ("s", 2e3), ("us", 2e-3), ("µs", 2e-3), ("min", 1.2e5), ("Seconds", 2e3),
        ("seconds since 2020-01-01", 2e3), ("milliseconds since 2020-01-01 00:00:00", 2),
    ],
)  # fmt: skip
def test_netcdf_times_of_any_unit_become_milliseconds(tmp_path, units, dt_ms):
    recording = from_array(np.eye(3)).assign_coords(time=("time", [0.0, 2, 4], {"units": units}))
    del recording.attrs["dt_ms"]
    recording.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    read = io.read(tmp_path / "r.nc")
    assert read.attrs["dt_ms"] == dt_ms and read["time"].values == pytest.approx([0, dt_ms, 2 * dt_ms])
    assert read["time"].attrs["units"] == "ms"


def in_fortnights(path):
    from_array(np.eye(3)).assign_coords(time=("time", [0, 1, 2], {"units": "fortnight"})).to_netcdf(path)


def trial_elsewhere(path):
    from_array(np.eye(3)).assign(trial=("epoch", [0, 1])).to_netcdf(path)


def two_steps(path):
    from_array(np.eye(3)).assign_attrs(dt_ms=[1.0, 2.0]).to_netcdf(path)


def scores(path):
    xr.Dataset({"score": (("target", "source"), np.eye(2))}).to_netcdf(path, engine="h5netcdf")


def cut_netcdf(path):
    from_array(np.random.default_rng(0).normal(size=(500, 4))).to_netcdf(path, engine="h5netcdf")
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: p.write_bytes(PNG), "cannot be read as netCDF .it is neither HDF5 nor classic netCDF"),
        (lambda p: p.write_bytes(b""), "cannot be read as netCDF"),
        (in_fortnights, "time has the units 'fortnight': convert it"),
        (trial_elsewhere, r"trial has shape \(2,\).*each of 3 rows"),
        (two_steps, r"dt_ms in the file is \[1.0, 2.0\]: give one number"),
        (cut_netcdf, "cannot be read as netCDF .*cut off"),
        (scores, r"has no activity \(time, neuron\) but score .*is a result, not a recording"),
    ],
)
def test_bad_netcdf_is_refused_with_a_reason(tmp_path, make, message):
    path = tmp_path / "bad.nc"
    make(path)
    with pytest.raises(ValueError, match=message) as caught:
        io.read(path)
    assert str(path) in str(caught.value)


# --- the authors' folders


@pytest.fixture
def folder(tmp_path, network):
    """One simulated network laid out as its authors publish it."""
    path = tmp_path / "seed0"
    path.mkdir()
    steps, neurons = np.nonzero(network["spikes"].values)
    weights = network["connectivity"].values.astype(int)
    np.savetxt(path / "v_alltimes.txt", network["voltage_mv"].values.T, delimiter=",", fmt="%.15g")
    np.savetxt(path / "firings.txt", np.stack([steps, neurons], axis=1) + 1, delimiter=",", fmt="%d")
    (path / "connectivity.txt").write_text("\n".join(",".join(map(str, row)) for row in weights).replace(",0", ",-0"))
    np.savetxt(path / "params_abcd.txt", np.stack([network[k] for k in "abcd"], axis=1), delimiter=",", fmt="%.15g")
    (path / "causal.txt").write_text("not looked at\n")
    return path


def test_authors_folder_is_the_recording_it_was_made_of(folder, network):
    read = io.read(folder, dt_ms=1)
    expected = network.drop_vars("cell_type")
    xr.testing.assert_allclose(read, expected, rtol=1e-12)
    np.testing.assert_array_equal(read["spikes"], network["voltage_mv"] >= 30)


def test_authors_folder_needs_a_time_step_and_the_voltages(folder):
    with pytest.raises(ValueError, match="does not tell the time step: pass --dt-ms .*it is 1 for"):
        io.read(folder)
    (folder / "firings.txt").unlink()
    assert "spikes" not in io.read(folder, dt_ms=1)
    (folder / "v_alltimes.txt").unlink()
    with pytest.raises(ValueError, match="is a folder without v_alltimes.txt"):
        io.read(folder, dt_ms=1)


def test_golden_reference_network_and_its_text_folder_read_alike(reference_data, tmp_path):
    path = reference_data / "paper" / "networks" / "N05_p0.4_net0.npz"
    read = io.read(path, dt_ms=1, stop=5000)
    stored = np.load(path)
    np.testing.assert_array_equal(read["activity"], np.minimum(stored["v"][:5000], 30))
    np.testing.assert_array_equal(read["connectivity"], stored["connectivity"])
    assert read["spikes"].values.sum() == (stored["spikes"][:, 0] < 5000).sum()
    np.testing.assert_array_equal(read["spikes"], read["voltage_mv"] >= 30)
    np.savetxt(tmp_path / "v_alltimes.txt", stored["v"].T, delimiter=",", fmt="%.15g")
    np.savetxt(tmp_path / "firings.txt", stored["spikes"] + 1, delimiter=",", fmt="%d")
    np.savetxt(tmp_path / "connectivity.txt", stored["connectivity"], delimiter=",", fmt="%d")
    np.savetxt(tmp_path / "params_abcd.txt", stored["params_abcd"], delimiter=",", fmt="%.17g")
    xr.testing.assert_allclose(io.read(tmp_path, dt_ms=1, stop=5000), read)


def test_golden_benchmark_sets_are_read(reference_data):
    for path in sorted((reference_data / "bench").glob("*.npz")):
        x = np.load(path)["x"]
        read = io.read(path, dt_ms=1, kind="other")
        assert read["activity"].size == x.size and read.sizes["neuron"] == x.shape[-1]
        assert ("trial" in read) == (x.ndim == 3)


# --- selection


def test_neurons_are_kept_in_the_order_asked_for_with_their_wiring(network, tmp_path):
    io.write_recording(network, tmp_path / "r.npz")
    read = io.read(tmp_path / "r.npz", neurons=["n4", "n1"], start=10, stop=12)
    expected = network.sel(neuron=["n4", "n1"], target=["n4", "n1"], source=["n4", "n1"], time=[10, 11])
    xr.testing.assert_identical(read, expected)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"neurons": ["n1", "N2"]}, r"no neuron called \['N2'\]: the recording has \['n0', 'n1'"),
        ({"neurons": ["n1", "n1"]}, "repeats a name"),
        ({"neurons": []}, "is empty"),
        ({"start": 400}, "no time step between start 400 and stop None: .*spans 0 to 299 ms"),
        ({"start": 20, "stop": 10}, "no time step between start 20 and stop 10"),
        ({"kind": "smell"}, "kind is 'smell'"),
    ],
)
def test_impossible_selections_are_refused(network, tmp_path, options, message):
    io.write_recording(network, tmp_path / "r.npz")
    with pytest.raises(ValueError, match=message):
        io.read(tmp_path / "r.npz", **options)


def test_files_that_are_not_there_or_of_another_format_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.npz does not exist"):
        io.read(tmp_path / "nothing.npz")
    (tmp_path / "r.mat").write_text("")
    with pytest.raises(ValueError, match="r.mat: recordings are read from .npz, .nc, .csv.*not from .mat"):
        io.read(tmp_path / "r.mat")
    with pytest.raises(ValueError, match="r.mat: recordings are written as .npz, .nc, .csv"):
        io.write_recording(np.eye(3), tmp_path / "r.mat")


# --- writing whole or not at all


@pytest.mark.parametrize("suffix", [".npz", ".nc", ".csv"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(network, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"r{suffix}"
    path.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        io.write_recording(network, path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_atomic_removes_what_was_begun_even_when_interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt), io.atomic(tmp_path / "r.csv") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
