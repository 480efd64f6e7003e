"""NWB, zarr, Neo and pynapple: files and objects that their own packages write, read back value by value."""

import subprocess
import sys
import textwrap
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest

from causalkit import io, preprocess, simulate
from causalkit.recording import as_recording, from_array

# All in the extra `test`. Nothing else is tested here, so that without them the rest of the suite still runs.
pytest.importorskip("pynwb")
neo, zarr = pytest.importorskip("neo"), pytest.importorskip("zarr")
pynapple, pq = pytest.importorskip("pynapple"), pytest.importorskip("quantities")

from pynwb import NWBHDF5IO, NWBFile, TimeSeries  # noqa: E402
from pynwb.ecephys import LFP, ElectricalSeries  # noqa: E402
from pynwb.icephys import CurrentClampSeries  # noqa: E402
from pynwb.ophys import Fluorescence, ImageSegmentation, OpticalChannel, RoiResponseSeries  # noqa: E402


def new_nwb():
    return NWBFile(session_description="test", identifier="1", session_start_time=datetime(2024, 1, 1, tzinfo=UTC))


def electrodes(nwb, n):
    device = nwb.create_device(name="probe")
    group = nwb.create_electrode_group(name="shank", description="d", location="CA1", device=device)
    for _ in range(n):
        nwb.add_electrode(location="CA1", group=group)
    return nwb.create_electrode_table_region(list(range(n)), "all")


def write_nwb(nwb, path):
    with NWBHDF5IO(path, "w") as file:
        file.write(nwb)
    return path


@pytest.fixture(scope="module")
def lfp_values():
    return np.random.default_rng(0).integers(-2000, 2000, size=(3000, 4)).astype(np.int16)


@pytest.fixture(scope="module")
def session(tmp_path_factory, lfp_values):
    """An NWB file with an LFP, units, running speed and trials."""
    nwb, rng = new_nwb(), np.random.default_rng(1)
    series = ElectricalSeries(
        name="lfp", data=lfp_values, electrodes=electrodes(nwb, 4), rate=1250.0, starting_time=2.0, conversion=1e-6,
        offset=1e-3, channel_conversion=[1.0, 2.0, 3.0, 4.0],
    )  # fmt: skip
    module = nwb.create_processing_module(name="ecephys", description="d")
    module.add(LFP(electrical_series=series))
    nwb.add_acquisition(TimeSeries(name="speed", data=rng.normal(size=3000), rate=30.0, unit="cm/s"))
    for i in range(3):
        spikes = np.sort(rng.uniform(0, 10, 40 * (i + 1)))
        nwb.add_unit(spike_times=spikes, obs_intervals=[[0.0, 10.0]], id=10 + i)
    for start in (2.5, 3.5):
        nwb.add_trial(start_time=start, stop_time=start + 0.5)
    return write_nwb(nwb, tmp_path_factory.mktemp("nwb") / "session.nwb")


# --- NWB


def test_what_is_in_a_file_is_listed(session):
    table = io.contents(session).set_index("name")
    assert sorted(table.index) == ["acquisition/speed", "processing/ecephys/LFP/lfp", "units"]
    lfp = table.loc["processing/ecephys/LFP/lfp"]
    assert lfp.tolist() == ["ElectricalSeries", "3000 x 4", "1,250 per second", "volts"]
    assert table.loc["units", "shape"] == "3 neurons"
    with pytest.raises(ValueError, match=r"holds 2 series that could be meant: choose one with --series .*lfp \(Elec"):
        io.read(session)
    with pytest.raises(ValueError, match="no series 'lpf': did you mean lfp"):
        io.read(session, series="lpf")


def test_values_are_scaled_to_the_unit_that_the_file_names(session, lfp_values):
    for name in ("lfp", "processing/ecephys/LFP/lfp"):
        read = io.read(session, series=name)
        expected = lfp_values * 1e-6 * np.array([1, 2, 3, 4]) + 1e-3
        np.testing.assert_allclose(read["activity"], expected, rtol=1e-6)
    assert read["neuron"].values.tolist() == ["e0", "e1", "e2", "e3"]
    assert read.attrs["dt_ms"] == 0.8 and read.attrs["kind"] == "other" and read.attrs["unit"] == "volts"
    assert read["time"].values[[0, 1, -1]].tolist() == pytest.approx([2000, 2000.8, 2000 + 2999 * 0.8])
    xr_again = as_recording(read)
    assert xr_again.sizes == read.sizes


def test_a_part_is_the_part_of_the_whole(session):
    whole = io.read(session, series="lfp")
    part = io.read(session, series="lfp", neurons=["e3", "e1"], start=2100, stop=2200)
    expected = whole.sel(neuron=["e3", "e1"]).isel(time=(whole.time >= 2100) & (whole.time < 2200))
    np.testing.assert_array_equal(part["activity"], expected["activity"])
    np.testing.assert_allclose(part["time"], expected["time"])


def test_trials_of_the_table_are_trials_of_the_recording(session):
    whole = io.read(session, series="lfp")
    read = io.read(session, series="lfp", epochs="trials")
    time = whole["time"].values
    inside = [(time >= a) & (time < a + 500) for a in (2500, 3500)]
    np.testing.assert_array_equal(read["activity"], np.concatenate([whole["activity"].values[i] for i in inside]))
    assert read["trial"].values.tolist() == np.repeat([0, 1], [i.sum() for i in inside]).tolist()
    with pytest.raises(ValueError, match="no table of epochs 'sleep': .* are trials"):
        io.read(session, series="lfp", epochs="sleep")


def test_resampling_in_blocks_is_resampling_of_the_whole(session):
    whole = preprocess.resample(io.read(session, series="lfp"), 4)
    read = io.read(session, series="lfp", resample_ms=4, detrend="linear")
    np.testing.assert_allclose(read["activity"], preprocess.detrend(whole, "linear")["activity"], atol=1e-8)
    np.testing.assert_allclose(read["time"], whole["time"])
    assert [step["step"] for step in preprocess.history(read)] == ["resample", "detrend"]


def test_units_are_counted_in_bins_of_the_time_they_were_observed(session):
    read = io.read(session, series="units", bin_ms=50)
    with h5py.File(session) as file:
        times, index = file["units/spike_times"][:], file["units/spike_times_index"][:]
    for name, spikes in zip(("u10", "u11", "u12"), np.split(times, index[:-1]), strict=True):
        expected, _ = np.histogram(spikes, np.arange(201) * 0.05)
        np.testing.assert_array_equal(read["activity"].sel(neuron=name), expected)
    assert read.attrs["kind"] == "spikes" and read.sizes["time"] == 200
    with pytest.raises(ValueError, match="pass --bin-ms"):
        io.read(session, series="units")
    with pytest.raises(ValueError, match="leave --kind out"):
        io.read(session, series="units", bin_ms=5, kind="voltage")
    in_trials = io.read(session, series="units", bin_ms=50, epochs="trials", neurons=["u11"])
    assert in_trials.sizes == {"time": 20, "neuron": 1} and in_trials["trial"].values[-1] == 1


def test_fluorescence_is_calcium_and_rois_name_the_neurons(tmp_path, rng):
    nwb = new_nwb()
    channel = OpticalChannel(name="c", description="d", emission_lambda=500.0)
    plane = nwb.create_imaging_plane(
        name="p", optical_channel=channel, description="d", device=nwb.create_device(name="scope"),
        excitation_lambda=600.0, indicator="GCaMP", location="V1",
    )  # fmt: skip
    segments = ImageSegmentation().create_plane_segmentation(name="s", description="d", imaging_plane=plane)
    for _ in range(3):
        segments.add_roi(image_mask=np.ones((2, 2)))
    module, x = nwb.create_processing_module(name="ophys", description="d"), rng.normal(size=(50, 3))
    module.add(segments.parent)
    region = segments.create_roi_table_region(region=[2, 0, 1], description="d")
    times = 5 + np.arange(50) / 30 + rng.normal(size=50) * 1e-4
    response = RoiResponseSeries(name="dff", data=x, rois=region, unit="dF/F", timestamps=times)
    module.add(Fluorescence(roi_response_series=response))
    read = io.read(write_nwb(nwb, tmp_path / "r.nwb"))
    np.testing.assert_allclose(read["activity"], x, rtol=1e-6)
    assert read.attrs["kind"] == "calcium" and read["neuron"].values.tolist() == ["roi2", "roi0", "roi1"]
    assert read.attrs["dt_ms"] == pytest.approx(1000 / 30, rel=1e-3)


def test_time_stamps_with_a_gap_are_refused_unless_epochs_leave_it_out(tmp_path, rng):
    nwb, x = new_nwb(), rng.normal(size=(60, 2))
    times = np.r_[np.arange(30), 500 + np.arange(30)] / 1000
    nwb.add_acquisition(TimeSeries(name="x", data=x, timestamps=times, unit="V"))
    nwb.add_epoch(0.0, 0.1)
    nwb.add_epoch(0.4, 0.6)
    path = write_nwb(nwb, tmp_path / "r.nwb")
    with pytest.raises(ValueError, match="no series of neurons: choose one with --series .*x .TimeSeries, 60 x 2"):
        io.read(path)
    with pytest.raises(ValueError, match="time steps are uneven"):
        io.read(path, series="x")
    read = io.read(path, series="x", epochs="epochs")
    np.testing.assert_allclose(read["activity"], x, rtol=1e-6)
    assert read["trial"].values.tolist() == [0] * 30 + [1] * 30 and read["time"].values[30] == 500


def test_an_intracellular_recording_is_a_voltage(tmp_path):
    nwb = new_nwb()
    electrode = nwb.create_icephys_electrode(name="e", description="d", device=nwb.create_device(name="d"))
    nwb.add_acquisition(CurrentClampSeries(name="v", data=np.arange(9.0), electrode=electrode, gain=1.0, rate=1000.0))
    read = io.read(write_nwb(nwb, tmp_path / "r.nwb"), series="v")
    assert read.attrs["kind"] == "voltage" and read["activity"].values.ravel().tolist() == list(range(9))


def test_nothing_is_read_from_other_files(tmp_path, session):
    (tmp_path / "secret.h5").write_bytes(session.read_bytes())
    bad = tmp_path / "link.nwb"
    bad.write_bytes(session.read_bytes())
    with h5py.File(bad, "a") as file:
        file["acquisition/other"] = h5py.ExternalLink("secret.h5", "/acquisition/speed")
    with pytest.raises(ValueError, match="acquisition/other lies in another file, secret.h5"):
        io.read(bad, series="other")
    bad.write_bytes(session.read_bytes())
    with h5py.File(bad, "a") as file:
        del file["acquisition/speed/data"]
        file["acquisition/speed"].create_dataset("data", (10,), "f8", external=[("/etc/passwd", 0, 80)])
    with pytest.raises(ValueError, match="keeps its numbers in another file"):
        io.read(bad, series="lfp")


@pytest.mark.parametrize("name", ["r.nwb", "r.h5"])
def test_hdf5_that_is_no_nwb_says_so(tmp_path, name):
    with h5py.File(tmp_path / name, "w") as file:
        file["x"] = np.eye(3)
    with pytest.raises(ValueError, match="is HDF5 but not NWB .*holds x.: export"):
        io.read(tmp_path / name)


def test_nwb_under_another_suffix_is_read(tmp_path, session):
    for name in ("r.h5", "r.nc"):
        (tmp_path / name).write_bytes(session.read_bytes())
        assert io.read(tmp_path / name, series="lfp", stop=2004).sizes["time"] == 5


def test_a_missing_package_is_named_with_its_extra(session, tmp_path, monkeypatch):
    recording = from_array(np.eye(3))
    recording.to_zarr(tmp_path / "r.zarr")
    for package, extra, path in (("pynwb", "nwb", session), ("zarr", "zarr", tmp_path / "r.zarr")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"install it with pip install 'causalkit\[{extra}\]'"):
            io.read(path)


# --- zarr


@pytest.mark.parametrize("version", [2, 3])
def test_a_recording_survives_zarr(tmp_path, version):
    recording = simulate.izhikevich(n_neurons=4, n_steps=100, random_state=3)
    recording.to_zarr(tmp_path / "r.zarr", zarr_format=version)
    read = io.read(tmp_path / "r.zarr")
    np.testing.assert_array_equal(read["activity"], recording["activity"])
    np.testing.assert_array_equal(read["connectivity"], recording["connectivity"])
    assert read["neuron"].values.tolist() == recording["neuron"].values.tolist() and read.attrs["dt_ms"] == 1


def test_plain_zarr_arrays_are_chosen_by_name(tmp_path, rng):
    x = rng.normal(size=(200, 3))
    group = zarr.open_group(tmp_path / "r.zarr", mode="w")
    for name in ("raw/v", "raw/u"):
        group.create_array(name, data=x if name == "raw/v" else 2 * x, chunks=(64, 2))
    with pytest.raises(ValueError, match=r"holds 2 series that could be meant: .*raw/v \(float64, 200 x 3\)"):
        io.read(tmp_path / "r.zarr", dt_ms=1)
    with pytest.raises(ValueError, match="does not tell the time step: pass --dt-ms"):
        io.read(tmp_path / "r.zarr", series="u")
    read = io.read(tmp_path / "r.zarr", series="u", dt_ms=0.5, kind="other", start=10, stop=20)
    np.testing.assert_allclose(read["activity"], 2 * x[20:40], rtol=1e-6)
    np.testing.assert_allclose(read["time"], np.arange(20, 40) * 0.5)


def test_a_zarr_zip_is_read_too(tmp_path, rng):
    x = rng.normal(size=(20, 3))
    with zarr.storage.ZipStore(tmp_path / "r.zarr.zip", mode="w") as store:
        zarr.create_array(store, data=x)
    read = io.read(tmp_path / "r.zarr.zip", dt_ms=1)
    np.testing.assert_allclose(read["activity"], x, rtol=1e-6)


def test_zarr_filters_that_could_run_code_are_refused(tmp_path):
    zarr.create_array(tmp_path / "r.zarr", data=np.eye(3), zarr_format=2)
    meta = tmp_path / "r.zarr" / ".zarray"
    meta.write_text(meta.read_text().replace('"filters": null', '"filters": [{"id": "pickle"}]'))
    assert "pickle" in meta.read_text()
    with pytest.raises(ValueError, match="packed with 'pickle'.*could run code"):
        io.read(tmp_path / "r.zarr", dt_ms=1)


@pytest.mark.parametrize("text", ["", "{", '{"zarr_format": 3, "node_type": "sheep"}'])
def test_damaged_zarr_is_refused(tmp_path, text):
    (tmp_path / "r.zarr").mkdir()
    (tmp_path / "r.zarr" / "zarr.json").write_text(text)
    with pytest.raises(ValueError, match="cannot be read as zarr"):
        io.read(tmp_path / "r.zarr", dt_ms=1)


# --- large files: what is not asked for is never held

PEAK = """
import resource, sys
from causalkit import io
read = io.read(sys.argv[1], **eval(sys.argv[2]))
print(read.sizes["time"], read.sizes["neuron"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mb(path, options):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PEAK), str(path), repr(options)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def test_ten_gigabytes_of_nwb_are_read_in_little_memory(tmp_path, session):
    """30 kHz, 64 channels, 46 minutes: 10.6 GB of int16, of which the file holds none (it is all fill value)."""
    path = tmp_path / "large.nwb"
    path.write_bytes(session.read_bytes())
    n_times = 83_000_000
    with h5py.File(path, "a") as file:
        series = file["processing/ecephys/LFP/lfp"]
        attributes = dict(series["data"].attrs)
        del series["data"], series["electrodes"], series["channel_conversion"]
        series.create_dataset("data", (n_times, 64), "i2", chunks=(30_000, 64), fillvalue=7)
        series["data"].attrs.update(attributes)
        series["starting_time"].attrs["rate"] = 30_000.0
        region = np.zeros(64, int)
        series.create_dataset("electrodes", data=region)
        with h5py.File(session) as old:
            for name, value in old["processing/ecephys/LFP/lfp/electrodes"].attrs.items():
                if name != "table":
                    series["electrodes"].attrs[name] = value
        series["electrodes"].attrs["table"] = file["general/extracellular_ephys/electrodes"].ref
    assert path.stat().st_size < 50e6
    *base, start = peak_mb(path, {"series": "lfp", "stop": 2001})
    assert base == [30, 64]
    options = {"series": "lfp", "neurons": ["n3", "n60"], "start": 60_000, "stop": 120_000, "resample_ms": 1}
    n, k, peak = peak_mb(path, options)
    assert (n, k) == (60_000, 2) and peak < start + 400
    with pytest.raises(ValueError, match="would take .* GiB, more than half"):
        preprocess.fits(n_times * 1000, 64)


# --- Neo


def neo_segment(rng, start=0.0, n=200):
    x = rng.normal(size=(n, 3))
    segment = neo.Segment()
    segment.analogsignals.append(
        neo.AnalogSignal(x, units="mV", sampling_rate=2 * pq.kHz, t_start=start * pq.s, name="membrane")
    )
    trains = [np.sort(rng.uniform(start * 1000, start * 1000 + n / 2, 9)) for _ in range(3)]
    for train in trains:
        stop = start * 1000 + n / 2
        segment.spiketrains.append(neo.SpikeTrain(train, units="ms", t_start=start * 1000, t_stop=stop))
    return segment, x, trains


def test_neo_signals_are_recordings_with_units_and_times(rng):
    segment, x, _ = neo_segment(rng, start=1.5)
    read = io.convert(segment, series="membrane", kind="voltage")
    np.testing.assert_allclose(read["activity"], x, rtol=1e-6)
    assert read.attrs["dt_ms"] == 0.5 and read.attrs["unit"] == "mV" and read["time"].values[0] == 1500
    signal = as_recording(segment.analogsignals[0].rescale("V"))
    np.testing.assert_allclose(signal["activity"], x / 1000, rtol=1e-6)
    with pytest.raises(ValueError, match="holds 2 series that could be meant"):
        io.convert(segment)


def test_neo_spike_trains_are_counted_from_start_to_stop(rng):
    segment, _, trains = neo_segment(rng, start=1.5)
    for data in (segment, list(segment.spiketrains)):
        read = io.convert(data, bin_ms=5, **({"series": "spiketrains"} if data is segment else {}))
        for i, train in enumerate(trains):
            expected, _ = np.histogram(train, np.arange(1500, 1601, 5))
            np.testing.assert_array_equal(read["activity"].sel(neuron=f"n{i}"), expected)


def test_segments_of_a_neo_block_are_trials(rng):
    block = neo.Block()
    parts = [neo_segment(rng, n=n) for n in (200, 120)]  # both start at 0, as trials in Neo do
    block.segments.extend([segment for segment, _, _ in parts])
    read = io.convert(block, series="membrane")
    np.testing.assert_allclose(read["activity"], np.concatenate([x for _, x, _ in parts]), rtol=1e-6)
    assert read["trial"].values.tolist() == [0] * 200 + [1] * 120 and read["time"].values[[0, 200]].tolist() == [0, 0]
    spikes = io.convert(block, series="spiketrains", bin_ms=10)
    assert spikes["trial"].values.tolist() == [0] * 10 + [1] * 6
    for i in range(3):
        sizes = zip(parts, (100, 60), strict=True)
        expected = [np.histogram(trains[i], np.arange(0, n + 1, 10))[0] for (_, _, trains), n in sizes]
        np.testing.assert_array_equal(spikes["activity"].sel(neuron=f"n{i}"), np.concatenate(expected))
    with pytest.raises(TypeError, match="a Neo Event is no recording"):
        io.convert(neo.Event([1] * pq.s))


# --- pynapple


def test_a_tsdframe_with_gaps_has_trials(rng):
    x, time = rng.normal(size=(60, 2)), np.r_[np.arange(30), 500 + np.arange(30)] / 1000
    support = pynapple.IntervalSet([0, 0.49], [0.1, 0.6])
    frame = pynapple.TsdFrame(t=time, d=x, columns=["a", "b"], time_support=support)
    read = as_recording(frame)
    np.testing.assert_allclose(read["activity"], x, rtol=1e-6)
    assert read["trial"].values.tolist() == [0] * 30 + [1] * 30 and read["neuron"].values.tolist() == ["a", "b"]
    assert read.attrs["dt_ms"] == pytest.approx(1)
    plain = pynapple.TsdFrame(t=time[:30], d=x[:30])
    np.testing.assert_array_equal(as_recording(plain)["activity"], from_array(plain)["activity"])
    assert io.convert(pynapple.Tsd(t=time[:30], d=x[:30, 0])).sizes == {"time": 30, "neuron": 1}


def test_a_tsgroup_is_counted_as_pynapple_counts_it(rng):
    group = pynapple.TsGroup(
        {3: pynapple.Ts(np.sort(rng.uniform(0, 10, 50))), 8: pynapple.Ts(np.sort(rng.uniform(0, 10, 70)))},
        time_support=pynapple.IntervalSet(0, 10),
    )
    read = io.convert(group, bin_ms=100)
    np.testing.assert_array_equal(read["activity"], group.count(0.1).values)
    assert read["neuron"].values.tolist() == ["u3", "u8"] and read.attrs["kind"] == "spikes"
    with pytest.raises(ValueError, match="pass --bin-ms"):
        as_recording(group)


def test_other_data_goes_on_as_before(rng):
    x = rng.normal(size=(20, 2))
    found = io.convert(x, kind="other", epochs=[[0, 5]], detrend="constant")
    np.testing.assert_allclose(found["activity"], x[:5] - x[:5].mean(axis=0), atol=1e-6)
