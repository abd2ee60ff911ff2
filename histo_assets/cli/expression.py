"""The commands around expression: `expression` makes one file a filtered matrix, `fetch-release` fetches GTEx's.

Belongs here: reading arguments and printing. The work is in `core.expression`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console
from rich.text import Text

from histo_assets.cli.environment import bold, say, stop
from histo_assets.core.expression.name_rules.registry import RULES
from histo_assets.core.expression.settings import (
    UNITS_IN_WORDS,
    ExpressionSettings,
    GeneFilterSettings,
    SamplesIn,
    known_units,
    quantity,
)
from histo_assets.core.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

    from histo_assets.core.expression.reading import ExpressionReport

FileArgument = Annotated[str, typer.Argument(help="GCT, CSV, TSV, parquet or h5ad; a path or a URL.")]
OutArgument = Annotated[Path, typer.Argument(help="The h5ad file to write.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def expression(  # noqa: PLR0913 - an option of the command each
    file: FileArgument,
    out: OutArgument,
    samples: Annotated[str | None, typer.Option(help="A file with one sample a line, or names with commas.")] = None,
    units: Annotated[str, typer.Option(help=f"Units of the file: {UNITS_IN_WORDS}.")] = "tpm",
    names: Annotated[str, typer.Option(help=f"Rule for names: {', '.join(RULES)}.")] = ("drop_dotted_and_repeated"),
    min_max: Annotated[float, typer.Option(help="Highest log2 value that a gene must exceed.")] = 5.0,
    min_sd: Annotated[float, typer.Option(help="Standard deviation that a gene must exceed.")] = 0.5,
    samples_in: Annotated[str, typer.Option(help="Where a table has its samples: columns or rows.")] = "columns",
    gene_lengths: Annotated[Path | None, typer.Option(help="Lengths of genes or a GTF, for counts.")] = None,
    layer: Annotated[str | None, typer.Option(help="Another matrix of an h5ad file than X: a layer, or raw.")] = None,
    attributes: Annotated[
        Path | None, typer.Option(help="Table of the samples, such as GTEx's SampleAttributesDS.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an expression file a matrix of log2(1+TPM) of the genes that pass the three filters."""
    from histo_assets.core.expression.reading import write_expression

    began = time.process_time()
    settings = _settings(file, units, names, min_max, min_sd, samples_in, gene_lengths)
    settings = settings.model_copy(update={"layer": layer})
    if out.suffix != ".h5ad":
        stop(f"{out} should end in .h5ad, which is what is written")
    if out.is_dir():
        stop(f"{out} is a folder; name a file")
    describe = None if attributes is None else _described_by(attributes)
    with _progress() as progress:
        report = write_expression(file, settings, _listed(samples), None, out, progress, describe)
    if as_json:
        print(_json(report, settings, out, time.process_time() - began))
    else:
        _print(report, settings, out)


def fetch_release(
    release: Annotated[str, typer.Argument(help="gtex_v8 or gtex_v10.")],
    folder: Annotated[Path, typer.Argument(help="Where the files go, such as HISTO_COHORTS/gtex.")],
    annotations_only: Annotated[bool, typer.Option(help="Only the tables of samples and donors.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch the TPM and the annotations of a GTEx release; what is there is not fetched again."""
    from histo_assets.core.expression.releases import RELEASES, fetch_release_file, in_words

    if release not in RELEASES:
        stop(f"{release} is no known release; known are {', '.join(RELEASES)}")
    known = RELEASES[release]
    wanted = known.files[1:] if annotations_only else known.files
    with _progress() as progress:
        for file in wanted:
            fetch_release_file(file, folder / file.name, in_words(file.name, progress))
    paths = [str(folder / file.name) for file in wanted]
    if as_json:
        print(json.dumps({"release": release, "gencode": known.gencode, "files": paths}))
        return
    for path in paths:
        say(path)


def _settings(
    file: str, units: str, names: str, min_max: float, min_sd: float, samples_in: str, gene_lengths: Path | None
) -> ExpressionSettings:
    """Return the options as settings; one that is not allowed ends the command."""
    for option, value, allowed in (
        ("--names", names, tuple(RULES)),
        ("--samples-in", samples_in, get_args(SamplesIn)),
    ):
        if value not in allowed:
            stop(f"{option} {value} is not known; allowed are {', '.join(allowed)}")
    try:
        units = known_units(units)
    except ValueError:
        stop(f"--units {units} is not known; allowed are {UNITS_IN_WORDS}")
    if gene_lengths is not None and quantity(units) != "counts":
        stop(f"--gene-lengths makes TPM of counts, and --units says {units}; drop one of the two")
    if not min_sd >= 0:
        stop(f"--min-sd {min_sd:g} is no standard deviation; give 0 or more")
    return ExpressionSettings.model_validate(
        {
            "file": file,
            "units": units,
            "samples_in": samples_in,
            "gene_lengths": None if gene_lengths is None else str(gene_lengths),
            "filter": GeneFilterSettings.model_validate({"names": names, "min_max": min_max, "min_sd": min_sd}),
        }
    )


def _listed(samples: str | None) -> list[str] | None:
    """Return the samples of a file of names or of a comma list; None for all of the expression file."""
    if samples is None:
        return None
    path = Path(samples)
    if path.is_file():
        names = path.read_text().split()
    elif "/" in samples or path.suffix in (".txt", ".tsv", ".csv", ".list"):
        stop(f"{samples} does not exist; --samples takes a file with one sample a line, or names with commas")
    else:
        names = [name.strip() for name in samples.split(",") if name.strip()]
    if not names:
        stop(f"--samples {samples} names no sample")
    return names


def _described_by(attributes: Path) -> Callable[[list[str]], pd.DataFrame]:
    """Return a function that makes the table of the samples of a list of RNA samples or GTEx's SampleAttributesDS."""
    from histo_assets.core.cohort.reading import read_rna_samples

    table = read_rna_samples(str(attributes)).set_index("sample", drop=False).rename_axis(index=None)

    def described(samples: list[str]) -> pd.DataFrame:
        absent = [sample for sample in samples if sample not in table.index]
        if absent:
            stop(f"{attributes} lacks {len(absent)} of {len(samples)} samples, such as {absent[0]}")
        return table.loc[samples]

    return described


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show the last line in place, where somebody looks; standard output is left to the result."""
    terminal = Console(stderr=True, highlight=False)
    if not terminal.is_terminal:
        yield silent
        return
    with terminal.status("starting") as status:
        yield lambda line: status.update(Text(line))


def _json(report: ExpressionReport, settings: ExpressionSettings, out: Path, cpu_seconds: float) -> str:
    content = {
        "out": str(out),
        "units": settings.units,
        "names": settings.filter.names,
        "samples": len(report.samples),
        "missing_samples": report.missing_samples,
        "genes": len(report.var),
        "funnel": report.funnel.to_dict("records"),
        "alternatives": report.alternatives.to_dict("records"),
        "notes": report.notes,
        "cpu_seconds": round(cpu_seconds, 3),
    }
    return json.dumps(content)


def _print(report: ExpressionReport, settings: ExpressionSettings, out: Path) -> None:
    for step in report.funnel.to_dict("records"):
        say(f"{step['genes']:>9,}  {step['step']}")
    genes = dict(zip(report.alternatives["names"], report.alternatives["genes"], strict=True))
    others = [f"{rule} {count:,}" for rule, count in genes.items() if rule != settings.filter.names]
    say("other rules for names: " + ", ".join(others))
    for note in report.notes:
        say(f"note: {note}")
    say(f"{len(report.samples):,} samples x {len(report.var):,} genes: ", bold(out))
