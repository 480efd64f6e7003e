"""Recordings in text tables: every spelling, every refusal."""

import re

import numpy as np
import pandas as pd
import pytest

from causalkit import io
from causalkit.recording import as_recording, from_array
from causalkit.tables import read_table

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def csv(folder, text, name="recording.csv"):
    path = folder / name
    path.write_text(text)
    return path


def activity(recording):
    return recording["activity"].values.tolist()


@pytest.mark.parametrize(
    "text",
    [
        "time_ms,a,b\n0,1,2\n2,3,4\n4,5,6.5\n",
        "Time [ms];a;b\r\n0;1;2\r\n2;3;4\r\n4;5;6,5\r\n",
        "# made by hand\n\ntime_s\ta\tb\n0.000\t1\t2\n0.002\t3\t4\n0.004\t5\t6.5\n",
        "time a b\n0 1 2\n2 3 4\n4 5 6.5\n",
        '\ufefftime_ms,"a","b"\n0,"1",2\n2,3,4\n4,5,6.5',
        "a,time,b\n1,0,2\n3,2,4\n5,4,6.5\n",
        "a| b |time_ms\n1|2|0\n3|4|2\n5|6.5|4\n",
    ],
)
def test_the_same_recording_in_many_spellings(tmp_path, text):
    path = tmp_path / "recording.csv"
    path.write_text(text, encoding="utf-8", newline="")
    read = io.read(path)
    assert activity(read) == [[1, 2], [3, 4], [5, 6.5]]
    assert read["neuron"].values.tolist() == ["a", "b"] and read.attrs["dt_ms"] == 2
    assert read["time"].values.tolist() == [0, 2, 4]


def test_csv_without_header_gets_default_names(tmp_path):
    read = io.read(csv(tmp_path, "0.5,1\n2,3\n4,5\n"), dt_ms=1)
    assert activity(read) == [[0.5, 1], [2, 3], [4, 5]] and read["neuron"].values.tolist() == ["n0", "n1"]


def test_csv_as_pandas_numbers_its_columns(tmp_path):
    pd.DataFrame([[7.0, 8, 9], [6, 5, 4]]).to_csv(tmp_path / "r.csv", index=False)
    read = io.read(tmp_path / "r.csv", dt_ms=1)
    assert activity(read) == [[7, 8, 9], [6, 5, 4]] and read["neuron"].values.tolist() == ["0", "1", "2"]


def test_a_time_column_makes_a_header_of_any_names(tmp_path):
    read = io.read(csv(tmp_path, "time_ms,0.5,1.0,inf\n0,1,2,3\n1,4,5,6\n"))
    assert read["neuron"].values.tolist() == ["0.5", "1.0", "inf"]


def test_missing_cells_stay_missing_so_that_they_can_be_left_out(tmp_path):
    path = csv(tmp_path, "time_ms,a,b,c\n0,1,2,3\n1,,3,5\n2,4,NA,1\n3,2,1,7\n")
    assert np.isnan(io.read(path)["activity"]).sum() == 2
    assert activity(io.read(path, neurons=["c", "a"], start=2, stop=4)) == [[1, 4], [7, 2]]


@pytest.mark.parametrize("dt_ms", [None, 33, 1000 / 30])
@pytest.mark.parametrize("digits", [3, 9])
def test_rounded_frame_times_are_even_enough(tmp_path, digits, dt_ms):
    frames = "".join(f"{i / 30:.{digits}f},{i % 3},{i % 5}\n" for i in range(31))
    read = as_recording(io.read(csv(tmp_path, "time_s,a,b\n" + frames), dt_ms=dt_ms))
    assert read.attrs["dt_ms"] == pytest.approx(1000 / 30, rel=1e-6)
    np.testing.assert_allclose(read["time"], np.arange(31) * 1000 / 30, atol=1e-3)


def test_rounded_times_start_anew_with_each_trial(tmp_path):
    rows = "".join(f"{trial},{5 + i / 30:.3f},{i % 3},{i % 5}\n" for trial in (1, 2) for i in range(31))
    read = io.read(csv(tmp_path, "trial,time_s,a,b\n" + rows))
    np.testing.assert_allclose(read["time"], np.tile(5000 + np.arange(31) * 1000 / 30, 2), atol=1e-3)


@pytest.mark.parametrize("name", ["t", "T (ms)", "Timestamp", "timestamps", "frame", "Index", "sample", "time (sec)"])
def test_times_of_another_name_are_no_neuron(tmp_path, name):
    message = f"column '{re.escape(name)}' looks like times or row numbers.*rename or remove it"
    with pytest.raises(ValueError, match=message):
        io.read(csv(tmp_path, f"{name},a,b\n0,1,2\n0,2,3\n1,3,1\n"), dt_ms=1)
    with pytest.raises(ValueError, match="cannot be columns of a CSV file"):
        io.write_recording(from_array(np.eye(3), neurons=["a", name, "b"]), tmp_path / "w.csv")


def test_even_ramps_are_no_neuron(tmp_path):
    ramp = "".join(f"{i % 3},{100 + i / 30:.3f},{i % 5}\n" for i in range(12))
    with pytest.raises(ValueError, match="column 'clock' looks like times"):
        io.read(csv(tmp_path, "a,clock,b\n" + ramp), dt_ms=1)
    with pytest.raises(ValueError, match="column 2 looks like times"):
        io.read(csv(tmp_path, ramp), dt_ms=1)
    names = ["t1", "sample3", "tau", "indexed"]  # only look like it
    assert io.read(csv(tmp_path, ",".join(names) + "\n1,2,3,4\n" * 2), dt_ms=1)["neuron"].values.tolist() == names


def test_electrode_numbers_over_fractions_are_a_header(tmp_path):
    read = io.read(csv(tmp_path, "12,27,3\n0.5,1,2\n2,3.5,4\n4,5,6.5\n"), dt_ms=1)
    assert read["neuron"].values.tolist() == ["12", "27", "3"] and read.sizes["time"] == 3
    for first in ("12,27,12", "12,-27,3", "12,27,3.0"):
        assert io.read(csv(tmp_path, first + "\n0.5,1,2\n2,3.5,4\n4,5,6.5\n"), dt_ms=1).sizes["time"] == 4
    assert io.read(csv(tmp_path, "12,27,3\n0.5,1,2\n2,3.5,4\n4,5,6\n"), dt_ms=1).sizes["time"] == 4


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("# only a comment\n\n", "is empty"),
        ("time_ms,a,b\n", r"has a header \(time_ms, a, b\) and no rows"),
        ("time_ms,a,b\n0,1,2\n1,x7,3\n", "line 3, column 'a': 'x7' is not a number"),
        ("1,2\n3,4\n5,six\n", "line 3, column 2: 'six' is not a number"),
        ("time_ms,a,b\n0,1,2\n1,2\n", "line 3: 2 values, where the first row has 3"),
        ("time_ms,a,b\n0,1,2\n1,2,3,4\n", "line 3: 4 values, where the first row has 3"),
        ("0.5,two,3\n1,2,3\n", "line 1 mixes names and numbers"),
        (",a,b\n0,1,2\n1,2,3\n", "line 1: column 1 has no name: call it time_ms or time_s"),
        (",0,1\n0,1,2\n1,2,3\n", "column 1 has no name"),
        ("time_ms,a,a\n0,1,2\n1,2,3\n", r"neuron names \['a'\] occur more than once"),
        ("time_ms,time_s,a\n0,0,2\n1,1,3\n", "several columns for one thing"),
        ("time_ms,a,b\n0,1,2\n,2,3\n2,3,4\n", "column 'time_ms' has no value in data row 2"),
        ("time_ms,a,b\n0,1,2\n1,2,3\n2,3,1\n7,1,4\n", "time steps are uneven: 5 after data row 3, mostly 1"),
        ("time_ms,a,b\n0,1,2\n1,2,3\n0,3,1\n1,1,4\n", "uneven: -1 after data row 2.*column called trial"),
        ("time,a,b\n0,1,2\n0.1,2,3\n0.2,3,1\n", "'time' does not say of what: call it time_ms or time_s"),
        ("trial,time_ms,a,b\n0.5,0,1,2\n0.5,1,2,3\n", "must number the trials with whole numbers"),
        (f'a,b\n1,2\n"{"x" * 140_000}",3\n', "line 3: a quoted cell is too long .*a closing quote may be missing"),
        ("a,b\n1,2\n2,3\n", "does not tell the time step: pass --dt-ms"),
    ],
)
def test_bad_csv_is_refused_with_a_reason(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        io.read(csv(tmp_path, text))
    assert "recording.csv" in str(caught.value)


@pytest.mark.parametrize("raw", [PNG, "a,b\n1,2\n".encode("utf-16"), b"a,b\n\xff\xfe,2\n"])
def test_csv_that_is_no_text_is_refused(tmp_path, raw):
    path = tmp_path / "picture.csv"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="picture.csv is not a text file"):
        io.read(path)


def test_the_time_step_may_be_given_but_not_contradict_the_file(tmp_path):
    path = csv(tmp_path, "time,a,b\n0,1,2\n0.1,2,3\n0.2,3,1\n")
    assert io.read(path, dt_ms=0.1)["time"].values.tolist() == [0, 0.1, 0.2]
    assert io.read(path, dt_ms=100)["time"].values.tolist() == [0, 100, 200]  # then it was in seconds
    with pytest.raises(ValueError, match="dt_ms as asked for is 1 ms but the step of the times is 0.1 ms"):
        io.read(path, dt_ms=1)
    with pytest.raises(ValueError, match="dt_ms as asked for is '1 ms': give one number of milliseconds"):
        io.read(path, dt_ms="1 ms")
    with pytest.raises(ValueError, match="time runs forward in positive, finite steps"):
        io.read(csv(tmp_path, "a,b\n1,2\n2,3\n"), dt_ms=0)


@pytest.mark.parametrize("name", ["time_ms", "Trial", " padded", "two\nlines", ""])
def test_names_that_a_csv_would_misread_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be columns of a CSV file"):
        io.write_recording(from_array(np.eye(3), neurons=["a", name, "b"]), tmp_path / "r.csv")
    assert list(tmp_path.iterdir()) == []


def test_names_with_commas_survive_a_csv(tmp_path):
    io.write_recording(from_array(np.eye(3), neurons=["left, 1", "right; 2", "c"]), tmp_path / "r.csv")
    assert io.read(tmp_path / "r.csv")["neuron"].values.tolist() == ["left, 1", "right; 2", "c"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_what_excel_writes_in_europe(tmp_path, end, quote):
    rows = [["time_ms", "ä", "b"], ["0", "1,5", "-2"], ["1", "0,25", "3e1"]]
    lines = ["sep=;", *(";".join(f"{quote}{cell}{quote}" for cell in row) for row in rows)]
    (tmp_path / "r.csv").write_bytes(b"\xef\xbb\xbf" + (end.join(lines) + end).encode())
    names, values = read_table(tmp_path / "r.csv")
    assert [name.strip('"') for name in names] == rows[0]
    np.testing.assert_array_equal(values, [[0, 1.5, -2], [1, 0.25, 30]])
