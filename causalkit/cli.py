"""The command line, ``causalkit infer | report | simulate | ...``: it reads, calls, writes and reports."""

import argparse
import ast
import difflib
import os
import shlex
import sys
import warnings
from pathlib import Path

# Everything else is imported where it is used: --help must not wait for xarray, nor `simulate` for torch.
from . import __version__

_KINDS = ("voltage", "spikes", "calcium", "other")
_LONGEST_MESSAGE = 2000
_MODELS = ("izhikevich", "var", "lorenz96", "lif", "lif_spikes", "timeseries")


def main(argv=None):
    """Run the command line and return its exit code: 0, 1 if units of a sweep failed, 2 for a user's error, 130 when
    interrupted."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments = _parser().parse_args(argv)
            arguments.command = shlex.join(["causalkit", *map(str, sys.argv[1:] if argv is None else argv)])
            arguments.run(arguments)
            sys.stdout.flush()
        return 0
    except SystemExit as ended:  # --help and --version
        return ended.code or 0
    except KeyboardInterrupt as interrupt:
        print(f"causalkit: interrupted; {str(interrupt) or 'nothing was written'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, MemoryError, FloatingPointError, ImportError) as error:
        if os.environ.get("CAUSALKIT_TRACEBACK"):
            raise
        message = " ".join(str(error).split())
        if isinstance(error, MemoryError):
            message = f"not enough memory: use fewer neurons or a shorter recording ({message})"
        elif isinstance(error, OSError) and error.strerror:
            message = f"{error.filename}: {error.strerror}: check the file and its permissions"
        print(f"causalkit: error: {_one_line(message)}", file=sys.stderr)
        return 2


def _infer(arguments):
    from . import infer

    infer.run(arguments)


def _report(arguments):
    from . import connectivity, infer, io
    from .recording import validate
    from .reporting import report

    io.check_output(arguments.out, (".html",), overwrite=arguments.overwrite)
    if arguments.scores is not None and arguments.method is not None:
        raise ValueError("--scores and --method are both given: scores are there already; leave one out")
    if arguments.method == "all" or "," in (arguments.method or ""):
        raise ValueError(
            f"--method {arguments.method} names several, and a page is of one: name one, or leave --method out; "
            "causalkit infer takes several"
        )
    recording = infer.read(arguments)
    if arguments.scores is not None:
        result = connectivity.from_netcdf(arguments.scores)
    else:
        validate(recording)
        infer.tell_assumed_kind(recording, arguments.input)
        choice = infer.choice_of(arguments.method, recording)
        infer.announce(choice, choice.build(), recording)
        result = choice.fit(recording)
    page = report(
        recording,
        result,
        fdr=arguments.fdr,
        title=arguments.title or arguments.input.name,
        command=arguments.command,
        source=arguments.input.name,
        second_opinion=not arguments.no_second_opinion,
    )
    page.save(arguments.out)
    warned = [finding.title for finding in page.findings if finding.warns]
    told = f"warnings: {'; '.join(warned)}" if warned else "no warnings"
    print(f"{arguments.out}: {result.attrs.get('method', 'scores')} of {result.sizes['target']} neurons, {told}")


def _simulate(arguments):
    from . import io, simulate

    io.check_output(arguments.out, io.WRITABLE, overwrite=arguments.overwrite)
    wiring = {}
    if arguments.connection_probability is not None:
        if arguments.model == "lorenz96":
            raise ValueError("lorenz96 is a ring, whose wiring nothing draws: leave --connection-probability out")
        if arguments.model == "timeseries":
            raise ValueError("timeseries draws about three parents a neuron: leave --connection-probability out")
        wiring["connection_probability"] = arguments.connection_probability
    recording = simulate.MODELS[arguments.model](
        n_neurons=arguments.n_neurons, n_steps=arguments.n_steps, random_state=arguments.seed, **wiring
    )
    io.write_recording(recording, arguments.out)
    n_times, n_neurons = recording["activity"].shape
    step = f"{recording.attrs['dt_ms']:g} ms"
    print(f"{arguments.out}: {n_times:,} steps of {step}, {n_neurons} neurons, seed {arguments.seed}")
    if arguments.out.suffix == ".csv":
        what = "voltages" if recording.attrs["kind"] == "voltage" else "values"
        print(f"A CSV file holds the {what} only; write .npz or .nc to keep the connectivity and the spikes.")


def _sweep(arguments):
    from . import io, sweep

    if arguments.out is not None:
        io.check_output(arguments.out, (".parquet", ".csv"), overwrite=True)
    store = sweep.Store(arguments.store)
    grid = sweep.read_grid(arguments.grid)
    units = sweep.units(grid)
    if arguments.dry_run:
        _report_sweep(grid, units, store)
        return
    try:
        done = sweep.run(units, store, jobs=arguments.jobs, dask=arguments.dask, wait=not arguments.no_wait)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"finished units are in {store.folder}, the same command goes on from there") from None
    print(done)
    if arguments.out is not None:
        table = sweep.table(store, units)
        sweep.write_table(table, arguments.out)
        print(f"{arguments.out}: {len(table):,} rows of {table['key'].nunique():,} units")
    if done.failed:
        raise SystemExit(1)


def _report_sweep(grid, units, store):
    from .sweep.runner import estimate_work

    distinct = {unit.key: unit for unit in units}
    missing = [unit for key, unit in distinct.items() if store.result(key) is None]
    failed = sum(store.failure(unit.key) is not None for unit in missing)
    print(f"networks    {len(grid.networks)}")
    print(f"methods     {', '.join(setting.label for setting in grid.settings)}")
    print(
        f"units       {len(distinct)}: {len(distinct) - len(missing)} finished, {len(missing)} to do"
        + (f", of which {failed} failed before" if failed else "")
    )
    if missing:
        print(f"time        {duration(estimate_work(missing))}, one unit after another on this machine (estimated)")


def _benchmark(arguments):
    from . import benchmark, io, sweep

    if arguments.out is not None:
        io.check_output(arguments.out, (".csv", ".parquet"), overwrite=True)
    store = sweep.Store(arguments.store)
    planned = benchmark.plan(
        arguments.data, arguments.store, method_names=arguments.methods, set_names=arguments.sets,
        n_replicates=arguments.replicates,
    )  # fmt: skip
    print("hyperparameters, the same for all sets:")
    print(benchmark.hyperparameters(arguments.methods))
    if not arguments.collect:
        try:
            done = sweep.run(planned.units, store, jobs=arguments.jobs)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"finished units are in {store.folder}, the same command goes on from there"
            ) from None
        print(done)
    table = benchmark.with_auto(benchmark.table(planned, store), planned)
    if table["auroc"].notna().any():
        print("mean AUROC off the diagonal, over replicates:")
        print(benchmark.ranking(table).round(3).T.to_string(na_rep=""))
    if arguments.out is not None:
        sweep.write_table(table, arguments.out)
        print(f"{arguments.out}: {len(table):,} rows")


def _methods(arguments):
    from . import methods

    for name, method in methods.METHODS.items():
        print(f"{name}\n  {method.__doc__.strip().splitlines()[0]}")
        parameters = method().get_params()
        print("  " + "\n  ".join(f"--param {key}={value}" for key, value in parameters.items()) + "\n")


def parameters_of(method, given):
    """Hyperparameters of name=value texts, checked against the method's."""
    known, values = method().get_params(), {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(
                f"--param {text} has no value: write it as name=value, for example --param {text}=1"
            )
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
            raise ValueError(f"{method.name} has no parameter {name!r}: {hint}")
        if name in values:
            raise ValueError(f"--param {name} is given twice: give it once")
        try:
            values[name] = ast.literal_eval(
                {"none": "None", "true": "True", "false": "False"}.get(value, value)
            )
        except (ValueError, SyntaxError):  # a word
            values[name] = value
    return values


def duration(seconds):
    """About how long, in words."""
    for unit, size in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return "2 s or less"


def _names(text):
    return [name.strip() for name in text.split(",")]


def _one_line(message):
    """A message without what would steer a screen, and no longer than anyone reads: it may quote a hostile file."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(message).split()))
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"causalkit: warning: {_one_line(message)}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")


def _add_reading_options(command):
    """What of a recording is read, and what is done to it first: see `causalkit.io.read`."""
    command.add_argument("--series", metavar="NAME", help="which of several things in INPUT to read")
    command.add_argument("--epochs", metavar="NAME", help="use the intervals of this table of an NWB file as trials")
    command.add_argument("--bin-ms", metavar="X", type=float, help="count spikes in bins of this width")
    command.add_argument("--resample-ms", metavar="X", type=float, help="a longer time step, after a low-pass filter")
    command.add_argument("--detrend", metavar="HOW", help="constant, linear or highpass:SECONDS")
    command.add_argument("--decay-ms", metavar="X", type=float,
                         help="decay of the calcium indicator, taken out; default: 1000 for calcium, 0: none")
    command.add_argument("--dt-ms", metavar="X", type=float, help="time step in ms, where the file lacks it")
    command.add_argument("--kind", choices=_KINDS, help="what the numbers are; default: the file's, else voltage")
    command.add_argument("--neurons", metavar="A,B,C", type=_names, help="use these neurons only")
    command.add_argument("--start", metavar="MS", type=float, help="first time to use, in ms")
    command.add_argument("--stop", metavar="MS", type=float, help="time to stop before, in ms")


def _parser():
    parser = _Parser(
        prog="causalkit",
        description="Infer which neuron drives which from a recording.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"causalkit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    infer = commands.add_parser(
        "infer",
        help="infer the connectivity of a recording",
        description="Infer the connectivity of a recording and write its scores.",
        epilog="INPUT is .nwb, .npz, .csv, .nc, .zarr or a folder of the paper's authors: see causalkit.io.read.",
        allow_abbrev=False,
    )
    infer.set_defaults(run=_infer)
    infer.add_argument("input", metavar="INPUT", type=Path, help="the recording")
    infer.add_argument(
        "--method",
        help="mvgc, single_index, spike_index ..., several with commas, all that suit, or auto, the default: one "
        "chosen by kind, step and length of the recording; see: causalkit methods",
    )
    infer.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        action="append",
        help="result: .nc (all scores), .csv or .parquet (edge table) or .graphml; repeat for more",
    )
    infer.add_argument(
        "--fdr", metavar="X", type=float, default=0.05, help="false discovery rate of the edges, default 0.05"
    )
    infer.add_argument("--list", action="store_true", help="list what INPUT holds, for --series, and do nothing else")
    _add_reading_options(infer)
    infer.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a hyperparameter of the method; repeat for more",
    )
    infer.add_argument(
        "--dry-run", action="store_true", help="describe the recording, estimate the time, write nothing"
    )
    infer.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")

    report = commands.add_parser(
        "report",
        help="make a page about a recording and its connectivity",
        description="Make one HTML page about a recording and its connectivity, which opens in any browser.",
        epilog="Without --scores a method is fitted first, by default one chosen by kind, step and length.",
        allow_abbrev=False,
    )
    report.set_defaults(run=_report)
    report.add_argument("input", metavar="RECORDING", type=Path, help="the recording, as for infer")
    report.add_argument("--out", metavar="FILE", type=Path, required=True, help="the page, .html")
    report.add_argument("--scores", metavar="FILE", type=Path, help="what infer wrote of it, .nc")
    report.add_argument("--method", metavar="NAME", help="the method to fit, default auto; see: causalkit methods")
    report.add_argument("--fdr", metavar="Q", type=float, default=0.05, help="false discovery rate, default 0.05")
    report.add_argument("--title", metavar="TEXT", help="heading of the page; default: the file's name")
    report.add_argument("--no-second-opinion", action="store_true", help="compare with no other method")
    _add_reading_options(report)
    report.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")

    simulate = commands.add_parser(
        "simulate",
        help="simulate a network whose wiring is known",
        description="Simulate a random network: of Izhikevich neurons, as in the Causalformer paper, or another model.",
        allow_abbrev=False,
    )
    simulate.set_defaults(run=_simulate)
    simulate.add_argument("--model", choices=_MODELS, default="izhikevich", help="default izhikevich")
    simulate.add_argument("--n-neurons", metavar="N", type=int, default=5, help="default 5")
    simulate.add_argument("--connection-probability", metavar="P", type=float, help="default 0.4")
    simulate.add_argument("--n-steps", metavar="T", type=int, default=5000, help="of 1 ms, default 5000")
    simulate.add_argument("--seed", type=int, default=0, help="default 0")
    simulate.add_argument("--out", metavar="FILE", type=Path, required=True, help=".npz, .nc or .csv")
    simulate.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")

    sweep = commands.add_parser(
        "sweep",
        help="run methods on many networks",
        description="Run a grid of methods on a grid of networks; what the store holds already is not run again.",
        epilog="Interrupt it at any time: the same command goes on. The exit code is 1 if units failed.",
        allow_abbrev=False,
    )
    sweep.set_defaults(run=_sweep)
    sweep.add_argument("grid", metavar="GRID", type=Path, help="the networks and methods, a YAML file")
    sweep.add_argument("--store", metavar="DIR", type=Path, required=True, help="folder for the results")
    where = sweep.add_mutually_exclusive_group()
    where.add_argument("--jobs", metavar="N", type=int, default=1, help="units at a time, default 1")
    where.add_argument("--dask", metavar="ADDRESS", help="compute on the workers of this Dask scheduler")
    sweep.add_argument(
        "--out", metavar="TABLE", type=Path, help="write the table, .parquet or .csv; replaces an older one"
    )
    sweep.add_argument("--dry-run", action="store_true", help="count the units, estimate the time, run nothing")
    sweep.add_argument("--no-wait", action="store_true", help="leave units that other processes are at")

    benchmark = commands.add_parser(
        "benchmark",
        help="compare methods on sets whose wiring is known",
        description="Run every method with its default hyperparameters on every set: a folder's and simulated ones.",
        epilog="A set is NAME.npz with x and adj, and NAME.json. Interrupt it at any time: the same command goes on.",
        allow_abbrev=False,
    )
    benchmark.set_defaults(run=_benchmark)
    benchmark.add_argument("--data", metavar="FOLDER", type=Path, help="folder of sets; without it the simulated ones")
    benchmark.add_argument("--store", metavar="DIR", type=Path, required=True, help="folder for the results")
    benchmark.add_argument("--methods", metavar="A,B", type=_names, help="default: all; see: causalkit methods")
    benchmark.add_argument("--sets", metavar="A,B", type=_names, help="default: all")
    benchmark.add_argument("--replicates", metavar="N", type=int, default=5, help="first N of each set, default 5")
    benchmark.add_argument("--jobs", metavar="N", type=int, default=1, help="units at a time, default 1")
    benchmark.add_argument("--collect", action="store_true", help="run nothing, tell what the store holds")
    benchmark.add_argument("--out", metavar="TABLE", type=Path, help="write the table, .csv or .parquet")

    listing = commands.add_parser("methods", help="list the methods and their hyperparameters")
    listing.set_defaults(run=_methods)
    return parser


if __name__ == "__main__":
    sys.exit(main())
