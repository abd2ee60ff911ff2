"""Reading a GCT of GTEx's width against pandas in chunks and against decompression alone, in one run.

    .venv/bin/python -m histo_assets_tests.benchmarks.expression [--rows 5000] [--samples 17382] [--json]

The file is generated: TPM of four figures as RNASeQC prints them, about half of them zeros, gzipped.
Every side reads the same file to the same end: log2(1 + TPM), maximum and standard deviation of every
gene, the three filters. Ours also checks what it reads, and in a second figure writes the matrix.
Each runs in a process of its own; imports, and loading the compiled parser from its cache, are not
counted. Compiling it, once for each installation, is a figure of its own.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from histo_assets_tests.benchmarks.measure import in_own_process, line, parser, run_side

MODULE = "histo_assets_tests.benchmarks.expression"
GTEX_GENES, GTEX_SAMPLES, STUDY_SAMPLES = 56_200, 17_382, 1_803
PANDAS_ROWS = 200
FILLERS = 5  # genes that make every sample sum to a million, as the mitochondrial ones do


def write_gct(path: Path, genes: int, samples: int, seed: int = 0) -> Path:
    """Write a gzipped GCT with the look of GTEx's, if it is not there."""
    if path.exists():
        return path
    rng = np.random.default_rng(seed)
    texts = np.array([f"{mantissa}e{power}" for power in range(-2, 4) for mantissa in range(1000, 10000)])
    numbers = np.array([0.0, *(float(text) / 1000 for text in texts)])
    printed = [f"{number:.4g}".encode() for number in numbers]
    missing = np.full(samples, 1e6)
    part = path.with_suffix(".part")
    with gzip.open(part, "wb", compresslevel=6) as file:
        names = "\t".join(f"GTEX-{number:05d}-0226-SM-{number:05X}" for number in range(samples))
        file.write(f"#1.2\n{genes}\t{samples}\nName\tDescription\t{names}\n".encode())
        for gene in range(genes):
            symbol = f"AC{gene:06d}.{gene % 7 + 1}" if gene % 3 == 0 else f"GENE{gene}"
            if gene < genes - FILLERS:
                places = _places(rng, samples)
                missing -= numbers[places]
                values = [printed[place] for place in places]
            else:
                values = [f"{value:.0f}".encode() for value in missing / FILLERS]
            file.write(f"ENSG{gene:011d}.{gene % 9 + 1}\t{symbol}\t".encode() + b"\t".join(values) + b"\n")
    return part.rename(path)


def _places(rng: np.random.Generator, samples: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return (samples,) which of the printed numbers each sample has of one gene; the first is zero."""
    centre = rng.choice([rng.normal(-3.2, 1.2), rng.normal(0.9, 1.0)], p=[0.55, 0.45])
    log10 = rng.normal(centre, rng.uniform(0.15, 0.6), samples)
    power = np.floor(np.minimum(log10, 3.999)).astype(int)
    mantissa = np.minimum((10 ** (np.minimum(log10, 3.999) - power) * 1000).astype(int), 9999)
    return np.where(power < -2, 0, 1 + (power + 2) * 9000 + mantissa - 1000)


def decompression(path: str = "", wanted: str = "") -> dict[str, Any]:
    """Decompress the file with isal and drop what comes out."""
    from isal import igzip

    if not path:
        return {}
    buffer = bytearray(1 << 20)
    with igzip.open(path, "rb") as stream:  # type: ignore[no-untyped-call]
        while stream.readinto(buffer):
            pass
    return {}


def pandas_in_chunks(path: str = "", wanted: str = "") -> dict[str, Any]:
    """Do the same work with pandas, a few hundred rows at a time."""
    import pandas as pd

    if not path:
        return {}
    header = pd.read_csv(path, sep="\t", skiprows=2, nrows=0).columns
    samples = _wanted(list(header[2:]), wanted)
    types = {sample: np.float32 for sample in samples}
    columns = ["Name", "Description", *samples]
    chunks = pd.read_csv(path, sep="\t", skiprows=2, usecols=columns, dtype=types, chunksize=PANDAS_ROWS)
    names, kept = [], []
    for chunk in chunks:
        values = np.log2(1 + chunk[samples].to_numpy())
        expressed = (values.max(axis=1) > 5) & (values.std(axis=1, ddof=1) > 0.5)
        names += chunk["Description"].tolist()
        kept += chunk["Description"][expressed].tolist()
    repeated = pd.Series(names).duplicated(keep=False)
    taken = set(pd.Series(names)[~repeated & ~pd.Series(names).str.contains(r"\.\d+$")])
    return {"genes": sum(name in taken for name in kept)}


def ours(path: str = "", wanted: str = "") -> dict[str, Any]:
    """Do the work with this package's reader."""
    from histo_assets.core.expression.reading import filter_expression
    from histo_assets.core.expression.settings import ExpressionSettings

    if not path:
        _compiled_once()
        return {}
    report = filter_expression(path, ExpressionSettings(file=path), _wanted(_samples(path), wanted))
    return {"genes": len(report.var)}


def ours_written(path: str = "", wanted: str = "", out: str = "") -> dict[str, Any]:
    """Do the work and write the matrix of the genes that stay, as the command does."""
    from histo_assets.core.expression.reading import write_expression
    from histo_assets.core.expression.settings import ExpressionSettings

    if not path:
        _compiled_once()
        return {}
    target = Path(out) / "matrix.h5ad"
    report = write_expression(path, ExpressionSettings(file=path), _wanted(_samples(path), wanted), None, target)
    target.unlink()
    return {"genes": len(report.var)}


def compiled(out: str = "") -> dict[str, Any]:
    """Compile the parser into an empty cache, or load it from a filled one."""
    import anndata  # noqa: F401
    import numba  # noqa: F401

    import histo_assets.core.expression.reading  # noqa: F401

    if out:
        _compiled_once()
    return {}


def _compiled_once() -> None:
    from histo_assets.core.expression.reading import read_expression
    from histo_assets.core.expression.settings import ExpressionSettings

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "x.gct"
        path.write_text("#1.2\n2\t2\nName\tDescription\ta\tb\nG1\tA\t1\t200\nG2\tB\t300\t4\n")
        read_expression(str(path), ExpressionSettings(file="x"), None, None)


def _samples(path: str) -> list[str]:
    from histo_assets.core.expression.gct import open_gct

    return open_gct(path).samples


def _wanted(samples: list[str], wanted: str) -> list[str]:
    """Return every sample, or `wanted` of them spread evenly."""
    if wanted == "all":
        return samples
    return [samples[place] for place in np.linspace(0, len(samples) - 1, int(wanted)).astype(int)]


SIDES: dict[str, Callable[..., dict[str, Any]]] = {
    side.__name__: side for side in (decompression, pandas_in_chunks, ours, ours_written, compiled)
}


def figures(folder: Path, genes: int, samples: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield every figure with its unit and target; of `repeats` runs of each side the best counts."""

    def best(side: str, *arguments: Any) -> dict[str, Any]:
        runs = [in_own_process(MODULE, side, *arguments) for _ in range(repeats)]
        return min(runs, key=lambda run: float(run["cpu_seconds"]))

    half = write_gct(folder / f"{genes // 2}x{samples}.gct.gz", genes // 2, samples)
    whole = write_gct(folder / f"{genes}x{samples}.gct.gz", genes, samples)
    alone = best("decompression", whole)
    yield _figure(f"{genes:,} genes x {samples:,} samples, compressed", whole.stat().st_size / 1e6, "MB")
    yield _figure("isal, decompression alone", alone["cpu_seconds"], "CPU s")
    for name, wanted in (("all samples", "all"), (f"{STUDY_SAMPLES:,} samples", str(min(STUDY_SAMPLES, samples)))):
        theirs = best("pandas_in_chunks", whole, wanted)
        yield _figure(f"{name}: pandas in chunks of {PANDAS_ROWS} rows", theirs["cpu_seconds"], "CPU s")
        yield _figure(f"{name}: pandas, peak memory", theirs["peak_mb"], "MB")
        for side, more in (("ours", ""), ("ours_written", ", with h5ad")):
            out = (folder,) if more else ()
            mine, fewer = best(side, whole, wanted, *out), best(side, half, wanted, *out)
            if theirs["genes"] != mine["genes"]:
                raise SystemExit(f"pandas keeps {theirs['genes']} genes of {name}, ours {mine['genes']}")
            what = f"{name}: ours{more}"
            yield _figure(f"{what}, {mine['genes']:,} genes kept", mine["cpu_seconds"], "CPU s")
            yield _figure(f"{what}, over pandas", mine["cpu_seconds"] / theirs["cpu_seconds"], "", 0.25)
            # isal writes nothing, so its target is for reading.
            over_isal = mine["cpu_seconds"] / alone["cpu_seconds"]
            yield _figure(f"{what}, over isal alone", over_isal, "", None if more else 3)
            yield _figure(f"{what}, peak memory", mine["peak_mb"], "MB", 1000)
            yield _figure(f"{what}, peak over half the genes'", mine["peak_mb"] / fewer["peak_mb"], "", 1.1)
            # What a run costs whatever its genes drops out of the difference.
            per_gene = (mine["cpu_seconds"] - fewer["cpu_seconds"]) / (genes - genes // 2)
            every = mine["cpu_seconds"] + per_gene * (GTEX_GENES - genes)
            yield _figure(f"{what}, extrapolated to {GTEX_GENES:,} genes", every, "CPU s")
    with tempfile.TemporaryDirectory() as cache:
        for name in ("compiling the parser, once", "loading it from the cache"):
            yield _figure(name, _compile_seconds(Path(cache)), "CPU s")


def _compile_seconds(cache: Path) -> float:
    """Return the CPU seconds of a first use in a fresh process, with numba's cache at `cache`."""
    command = [sys.executable, "-m", MODULE, "--side", "compiled", "now"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return float(json.loads(child.stdout.splitlines()[-1])["cpu_seconds"])


def _figure(name: str, value: float, unit: str, at_most: float | None = None) -> dict[str, Any]:
    met = None if at_most is None else value <= at_most
    return {"name": name, "value": value, "unit": unit, "at_most": at_most, "met": met}


def main() -> None:
    """Print every figure."""
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, help="where the files are written, and kept for another run")
    arguments.add_argument("--rows", type=int, default=5000, help="genes of the generated file")
    arguments.add_argument("--samples", type=int, default=GTEX_SAMPLES, help="samples of the generated file")
    arguments.add_argument("--repeats", type=int, default=2, help="runs of each side; the best counts")
    options = arguments.parse_args()
    if options.side:
        run_side(SIDES[options.side[0]], options.side[1:])
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for figure in figures(folder, options.rows, options.samples, options.repeats):
            rows.append(figure)
            target = "" if figure["at_most"] is None else f"<= {figure['at_most']:g}"
            if not options.json:
                print(line(figure["name"], figure["value"], figure["unit"], target, figure["met"]), flush=True)
        if options.json:
            print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
