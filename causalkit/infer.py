"""``causalkit infer``: a recording in; scores, a table of edges and a graph out."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import xarray as xr

from . import connectivity, io, methods, preprocess
from .default import BY_KIND, Choice, choose
from .progress import progress_bar, stopwatch
from .recording import validate
from .summary import looks_like_spikes

FDR = 0.05
LONG_SECONDS = 60  # of a method that the user did not name
SUFFIXES = (".nc", ".csv", ".parquet", ".graphml")
# Most neurons with which a method is still a matter of minutes; with more it runs when it is named.
QUICK_UP_TO = {
    "causalformer": 0, "decoder_only": 0, "dynotears": 50, "gaussian_process": 20, "pcmci": 10, "pcmci_plus": 10,
    "var_lingam": 10,
}  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def choice_of(name: str | None, recording: xr.Dataset) -> Choice:
    """Return the method of a name: for None and "auto" what `default.choose` chooses for the recording."""
    return choose(recording) if name in (None, "auto") else Choice(name)


def suitable_methods(recording: xr.Dataset) -> tuple[list[Choice], dict[str, str]]:
    """Return the methods that ``--method all`` compares, the recording's own first, and why others are left out.

    Those that read the recording's kind, but for chance, and for those that take long with so many neurons: they run
    when they are named.
    """
    kind, n_neurons = recording.attrs["kind"], recording.sizes["neuron"]
    found, left_out = [choose(recording)], {}
    for name, method in methods.METHODS.items():
        if name in (found[0].method, "random"):
            continue
        if kind not in method.traits.input_kinds:
            left_out[name] = f"not for {kind}"
        elif n_neurons > QUICK_UP_TO.get(name, n_neurons):
            left_out[name] = "slow: name it to run it"
        else:
            found.append(Choice(name))
    return found, left_out


def edge_table(result: xr.Dataset, fdr: float = FDR) -> pd.DataFrame:
    """List all ordered pairs as `connectivity.to_frame` does, strongest first, and whether each is an edge.

    Parameters
    ----------
    result : Dataset, (target, source)
    fdr : float
        False discovery rate at which a pair is an edge; the column `edge` is there where the method has p-values.

    Returns
    -------
    DataFrame
        Columns source, target, score and, where the method gives them, sign, p_value, adjusted_p_value, lag (in time
        steps) and edge.
    """
    table = connectivity.to_frame(_with_q(result))
    if "p_value" in result:
        kept = connectivity.adjacency(result, fdr=fdr).transpose("target", "source").to_pandas()
        table["edge"] = kept.values[kept.index.get_indexer(table["target"]), kept.columns.get_indexer(table["source"])]
    return table


def edge_graph(result: xr.Dataset, fdr: float = FDR) -> nx.DiGraph:
    """Make the graph of the edges at a false discovery rate, with all neurons, and what is known of each edge.

    Raises
    ------
    ValueError
        The method gives no p-values.
    """
    kept = connectivity.adjacency(result, fdr=fdr)
    graph = connectivity.to_networkx(_with_q(result), kept)
    graph.graph.update(method=str(result.attrs.get("method", "")), fdr=float(fdr))
    return graph


def agreement(results: dict[str, xr.Dataset]) -> pd.DataFrame:
    """Return how alike methods rank the pairs: Spearman's correlation of their scores, off the diagonal."""
    scores = {}
    for name, result in results.items():
        score = result["score"].transpose("target", "source").values
        scores[name] = score[~np.eye(len(score), dtype=bool)]
    return pd.DataFrame(scores).corr(method="spearman")


def _with_q(result):
    if "p_value" not in result or "adjusted_p_value" in result:
        return result
    from .significance import fdr

    return result.assign(adjusted_p_value=fdr(result["p_value"].transpose("target", "source")))


# --- writing


def write(results: dict[str, xr.Dataset], paths: list[Path], fdr: float = FDR) -> None:
    """Write results by the suffix of each path: all of them appear complete, or none does.

    ``.nc`` holds the first method's connectivity, and with several methods a group for each and their `agreement`;
    ``.csv`` and ``.parquet`` the edges, with several methods a column `method`; ``.graphml`` the edges at the false
    discovery rate, with several methods those of each that has p-values, one edge a method.
    """
    writers = {".nc": _write_netcdf, ".csv": _write_csv, ".parquet": _write_parquet, ".graphml": _write_graphml}
    with ExitStack() as stack:
        for path in paths:
            temporary = stack.enter_context(io.atomic(path))
            writers[Path(path).suffix](results, temporary, fdr)


def _write_netcdf(results, path, fdr):
    first = next(iter(results.values()))
    if len(results) == 1:
        first.to_netcdf(path, engine="h5netcdf")
        return
    alike = agreement(results)
    names = list(results)
    dims = ("one", "other")  # "method" would be taken for an argument of sel
    table = xr.DataArray(alike.values, dims=dims, coords={dim: names for dim in dims})
    first.assign(agreement=table).to_netcdf(path, engine="h5netcdf")
    for name, result in results.items():
        result.to_netcdf(path, engine="h5netcdf", group=name, mode="a")


def _table(results, fdr):
    tables = [edge_table(result, fdr) for result in results.values()]
    if len(tables) > 1:
        for name, table in zip(results, tables, strict=True):
            table.insert(0, "method", name)
    table = pd.concat(tables, ignore_index=True)
    # a method without p-values says nothing of edges, which is not the same as no edge
    return table.astype({"edge": "boolean"}) if "edge" in table and len(tables) > 1 else table


def _write_csv(results, path, fdr):
    table = _table(results, fdr)
    for column in ("source", "target"):
        table[column] = [for_spreadsheet(name) for name in table[column]]
    table.to_csv(path, index=False, lineterminator="\n")


def for_spreadsheet(name: str) -> str:
    """A name behind an apostrophe if a spreadsheet would run it as a formula: such as ``=1+1``, but not ``-1``."""
    if not name.startswith(_FORMULA):
        return name
    try:
        float(name)
        return name
    except ValueError:
        return f"'{name}"


def _write_parquet(results, path, fdr):
    _table(results, fdr).to_parquet(path, index=False)


def _write_graphml(results, path, fdr):
    graphs = {name: edge_graph(result, fdr) for name, result in results.items() if "p_value" in result}
    graph = next(iter(graphs.values())) if len(results) == 1 else nx.MultiDiGraph(fdr=float(fdr))
    if len(results) > 1:
        for name, each in graphs.items():
            graph.add_nodes_from(each.nodes)
            for source, target, values in each.edges(data=True):
                graph.add_edge(source, target, key=f"{name}:{source}:{target}", method=name, **values)
    for *_, values in graph.edges(data=True):
        for key, value in values.items():
            values[key] = value.item() if isinstance(value, np.generic) else value
    nx.write_graphml(graph, path, named_key_ids=True)


# --- the command


def run(arguments) -> None:
    """Do what the command line asks for."""
    asked = _asked(arguments.method)
    if arguments.param and (len(asked) > 1 or asked == ["all"]):
        raise ValueError("--param belongs to one method: name one with --method")
    _check_fdr(arguments.fdr)
    outputs = _outputs(arguments, asked)
    if arguments.list:
        _list(arguments.input)
        return
    recording = read(arguments)
    if asked == ["all"]:
        choices, left_out = suitable_methods(recording)
    else:
        choices, left_out = [choice_of(name, recording) for name in asked or ["auto"]], {}
    if arguments.dry_run:
        for choice in choices:
            _report_dry_run(choice, _build(choice, arguments.param), recording, arguments.input)
        _check_graph(outputs, choices)
        return
    validate(recording)
    tell_assumed_kind(recording, arguments.input)
    _check_graph(outputs, choices)
    built = {choice.method: _build(choice, arguments.param) for choice in choices}
    announce(choices[0], built[choices[0].method], recording)
    fitted = _fit_all(built, recording, arguments)
    results = {choice.method: choice.explain(fitted[choice.method]) for choice in choices if choice.method in fitted}
    write(results, outputs, arguments.fdr)
    _report(results, outputs, arguments.fdr, left_out)


def read(arguments) -> xr.Dataset:
    """Read the recording that the command line asks for, prepared as it asks; calcium without its indicator's decay."""
    if arguments.decay_ms:
        preprocess.positive("decay_ms", arguments.decay_ms, "the time in which the indicator falls by e, in ms")
    recording = io.read(
        arguments.input, dt_ms=arguments.dt_ms, kind=arguments.kind, neurons=arguments.neurons, start=arguments.start,
        stop=arguments.stop, series=arguments.series, epochs=arguments.epochs, bin_ms=arguments.bin_ms,
        resample_ms=arguments.resample_ms, detrend=arguments.detrend,
    )  # fmt: skip
    if arguments.decay_ms is None:
        return preprocess.decay_free(recording)
    if (kind := recording.attrs["kind"]) != "calcium":
        raise ValueError(f"--decay-ms is for calcium, and this is {kind}: add --kind calcium, or leave it out")
    if arguments.decay_ms:
        return preprocess.without_decay(recording, arguments.decay_ms)
    return preprocess.noted(recording, "without_decay", decay_ms=0.0)  # so that nothing later takes it out


def _asked(text):
    names = [] if text is None else [name.strip() for name in text.split(",") if name.strip()]
    if "all" in names and len(names) > 1:
        raise ValueError("--method all names all that suit: give it alone, or the methods without it")
    if "auto" in names and len(names) > 1:
        raise ValueError("--method auto chooses one by the recording: give it alone, or the methods without it")
    if len(set(names)) < len(names):
        raise ValueError(f"--method {text} names a method twice: name each once")
    for name in names:
        if name not in ("all", "auto"):
            methods.get(name)
    return names


def _check_fdr(fdr):
    if not 0 < fdr < 1:
        raise ValueError(f"--fdr is {fdr}: it is the expected share of false edges among those found, between 0 and 1")


def _outputs(arguments, asked):
    """Refuse what cannot be written, before anything is read."""
    outputs = arguments.out or []
    for path in outputs:
        io.check_output(path, SUFFIXES, overwrite=arguments.overwrite)
        if path.exists() and arguments.input.exists() and path.samefile(arguments.input):
            raise ValueError(f"{path} is the recording itself: write the result somewhere else")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ValueError("--out names a file twice: give each another name")
    if not outputs and not (arguments.dry_run or arguments.list):
        raise ValueError(
            "--out is missing: name the file for the result, .nc (all scores), .csv or .parquet (edge table) or "
            ".graphml"
        )
    if asked not in ([], ["all"], ["auto"]):
        _check_graph(outputs, [Choice(name) for name in asked])
    return outputs


def _check_graph(outputs, choices):
    graph = next((path for path in outputs if path.suffix == ".graphml"), None)
    if graph and not any(methods.METHODS[choice.method].traits.p_values for choice in choices):
        names, why = ", ".join(choice.method for choice in choices), choices[0].why
        raise ValueError(
            f"{graph} would hold the edges at a false discovery rate, and {names} has no p-values"
            + (f" (it was chosen: {why})" if why else "")
            + ": write .csv, or name a method with p-values, such as --method mvgc"
        )


def _list(path):
    table = io.contents(path)
    print(f"{path}: {len(table)} to choose from with --series")
    if len(table):
        print(table.to_string(index=False))


def _build(choice, params):
    from .cli import parameters_of

    return choice.build(**parameters_of(methods.get(choice.method), params))


def tell_assumed_kind(recording: xr.Dataset, path: Path) -> None:
    """Tell, beside the output, that a file does not say what its numbers are and what they were taken for."""
    if not recording.encoding.get("kind_assumed"):
        return
    other = "they look like spikes, pass --kind spikes" if looks_like_spikes(recording) else "--kind says otherwise"
    taken = f"taken for {recording.attrs['kind']}; {other}"
    print(f"causalkit: note: {path} does not say what its numbers are: {taken}", file=sys.stderr)


def announce(choice: Choice, method, recording: xr.Dataset) -> None:
    """Tell which method was chosen and why, and that it takes more than a minute, before it begins."""
    from .cli import duration

    if not choice.why:
        return
    print(f"method {choice.method} (chosen: {choice.why})", flush=True)
    seconds = method.estimate_seconds(recording) if hasattr(method, "estimate_seconds") else 0
    if seconds > LONG_SECONDS:
        quicker = BY_KIND[recording.attrs["kind"]]
        print(f"this takes {duration(seconds)}; --method {quicker} is quicker", flush=True)


def _fit_all(chosen, recording, arguments):
    """Results by method; where there are several, one that cannot read the recording does not stop the others."""
    results, failures = {}, {}
    with progress_bar(len(chosen), "methods", wanted=len(chosen) > 1) as bar:
        for name, method in chosen.items():
            try:
                with stopwatch(name):
                    results[name] = _told(method.fit(recording).connectivity_, recording, arguments)
            except (ValueError, TypeError, FloatingPointError, ImportError, np.linalg.LinAlgError) as error:
                if len(chosen) == 1:
                    raise
                failures[name] = error
            bar.update()
    if not results:
        name, error = next(iter(failures.items()))
        raise ValueError(f"none of {', '.join(failures)} can read the recording; {name} says: {error}")
    for name, error in failures.items():
        print(f"causalkit: warning: {name} is left out: {' '.join(str(error).split())}", file=sys.stderr)
    return results


def _told(result, recording, arguments):
    """Add to a result where it comes from."""
    own = ("kind", "dt_ms", "series", "unit", "preprocessing")
    attributes = {name: recording.attrs[name] for name in own if name in recording.attrs}
    attributes |= {"recording": str(arguments.input), "n_times": recording.sizes["time"], "fdr": arguments.fdr}
    return result.assign_attrs(attributes | ({"command": arguments.command} if arguments.command else {}))


def _report(results, outputs, fdr, left_out):
    from .cli import duration

    n = next(iter(results.values())).sizes["target"]
    for name, result in results.items():
        edges = ""
        if "p_value" in result:
            n_edges = int(connectivity.adjacency(result, fdr=fdr).sum())
            edges = f"; {n_edges} {'edge' if n_edges == 1 else 'edges'} at a false discovery rate of {fdr:g}"
        took = duration(result.attrs["seconds"])
        print(f"{', '.join(map(str, outputs))}: {name} scores of {n * (n - 1)} ordered pairs, in {took}{edges}")
    if len(results) > 1:
        print("\nHow alike the methods rank the pairs (Spearman):")
        print(agreement(results).round(2).to_string())
    if left_out:
        print("left out: " + ", ".join(f"{name} ({why})" for name, why in left_out.items()))


def _report_dry_run(choice, method, recording, path):
    from .cli import duration
    from .summary import describe, estimate_seconds

    print(path)
    print(describe(recording))
    if recording.encoding.get("kind_assumed") and looks_like_spikes(recording):
        print("hint        these look like spikes: pass --kind spikes")
    kind, kinds = recording.attrs["kind"], method.traits.input_kinds
    if kind not in kinds:
        raise ValueError(f"{method.name} reads recordings of kind {', '.join(kinds)}, this one is {kind}")
    validate(recording)
    changed = {k: v for k, v in method.get_params().items() if v != type(method)().get_params()[k]}
    why = f" (chosen: {choice.why})" if choice.why else ""
    print(f"method      {method.name}{why}" + "".join(f", {name} = {value!r}" for name, value in changed.items()))
    print(f"time        {duration(estimate_seconds(method, recording))} on this machine (estimated)")
