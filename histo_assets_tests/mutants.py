"""`make mutants`: change the functions that decide a verdict, one place at a time, and see a test fail each time.

mutmut makes the mutants and runs the tests that reach them. A mutant that no test notices ends this with 1, unless it
is named in `EQUIVALENT` with the reason why no test could.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatch

CORE = "histo_assets.core"
FUNCTIONS = (
    f"{CORE}.figures.study_page.x_key_figures",
    f"{CORE}.evaluation.classification.x_confusion",
    f"{CORE}.evaluation.classification.x_slide_predictions",
    f"{CORE}.evaluation.classification.x__interval",
    f"{CORE}.evaluation.classification.x__metrics",
    f"{CORE}.evaluation.look_alikes.x_mistaken_figures",
    f"{CORE}.evaluation.look_alikes.x__share",
    f"{CORE}.prediction.methods.x_recoverable_genes",
    f"{CORE}.prediction.methods.x__why_not",
    f"{CORE}.prediction.metrics.x_*",
    f"{CORE}.prediction.scoring.x__products",
    f"{CORE}.prediction.scoring.x__statistic",
    f"{CORE}.projection.joint.x_joint_space",
    f"{CORE}.projection.joint.x_matching_figures",
    f"{CORE}.projection.joint.x__closer_than_partner",
    f"{CORE}.projection.joint.x__unit_block",
    f"{CORE}.tiling.quality.x_judge*",
    f"{CORE}.tiling.filters.half_empty.x__lower_quarter",
    f"{CORE}.tiling.sampling.x_*",
    "histo_assets.storage.prune.x__has_passed",
    "histo_assets.storage.prune.x__doubt",
    "histo_assets.storage.prune.x__expired",
)
EQUIVALENT = (
    # (function, regular expression of "line as it is -> line as it was changed", why no test can tell)
    ("*", r"^with np\.errstate\(", "it silences a warning, and changes no number"),
    ("*", r"-> .*strict=(None|False)|strict=True\)+ -> .*, \)\)$", "both sides have one length by construction"),
    ("*", r"-> .*(size|spread) >= 1e-12", "no sum of squares is exactly 1e-12"),
    ("*.x_recoverable_genes", r"-> .*itertuples\(index=(None|True)\)", "rows are read by name"),
    (
        "*.x_recoverable_genes",
        r"kind=\"stable\"\).* -> .*(kind=|False, \))",
        "so short a table is sorted stably anyway",
    ),
    ("*.x_upper_tail", r"side=\"left\"\) -> .*statistics, \)", "left is the default"),
    ("*.x_mistaken_figures", r"-> .*(bootstraps: int = 1001|seed: int = 1$)", "a default of chance alone"),
    ("*.x_matching_figures", r"^continue -> break$", "groups of one sample are left out before"),
    ("*.x_confusion", r"^counts = np\.zeros\(.*-> counts = np\.zeros", "the table is made one of whole numbers after"),
    ("*.x_slide_predictions", r"sort=True\) -> .*, \)$", "sorted is the default"),
    ("*.x__metrics", r"-> .*true >= 0", "of a tissue that is not there none is right, and nothing is added either way"),
    ("*.x__interval", r"-> .*float\(\"NAN\"\)", "no number is read from either"),
    ("*.x__unit_block", r"-> .*else 2\.0", "of a constant block nothing is left to divide"),
    ("*.x__level", r"default=0\) -> ", "where there are no slides the number is compared with none"),
    ("*.x__level", r"-> if count >= share", "a slide that has its share exactly gives it either way"),
    ("*.x__doubt", r"-> .*begun >= current", "no two versions begin in one microsecond"),
)
NOTICED = ("killed", "timeout")
_DIFF = re.compile(r"^([-+]) (.*)$", re.MULTILINE)
_TYPE = re.compile(r",? ?dtype=[\w.\"]+|(?<=astype\()[\w.]+|(?<=to_numpy\()\w+|,(?= *\))| ")


def main() -> int:
    """Run mutmut over `FUNCTIONS` and return 1 if a mutant survives that is not named."""
    parser = argparse.ArgumentParser(prog="python -m histo_assets_tests.mutants", description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="mutants at once")
    parser.add_argument("--results", action="store_true", help="judge the last run again, run nothing")
    asked = parser.parse_args()
    if not asked.results:
        _mutmut("run", "--max-children", str(asked.processes), *(f"{name}__mutmut_*" for name in FUNCTIONS))
    verdicts = _verdicts()
    unnamed, named = [], Counter[str]()
    for mutant, verdict in verdicts.items():
        if verdict in NOTICED:
            continue
        old, new = _change(mutant)
        if reason := _reason(mutant.rpartition("__mutmut_")[0], old, new):
            named[reason] += 1
        else:
            unnamed.append(f"{mutant}: {verdict}\n  - {old}\n  + {new}")
    print(f"{len(verdicts)} mutants, {len(verdicts) - named.total() - len(unnamed)} noticed by a test")
    for line in (*(f"{count} named: {reason}" for reason, count in named.most_common()), *unnamed):
        print(line)
    return 1 if unnamed or not verdicts else 0


def _change(mutant: str) -> tuple[str, str]:
    """Return what the mutant changed, as it is and as it was changed, each on one line."""
    lines = _DIFF.findall(_mutmut("show", mutant))
    old, new = (" ".join(line.strip() for sign, line in lines if sign == wanted) for wanted in "-+")
    return old, new


def _reason(function: str, old: str, new: str) -> str | None:
    """Return why no test can tell the change, or None where one should."""
    if _TYPE.sub("", old) == _TYPE.sub("", new):
        return "the type is what the values have already"
    return next(
        (why for name, line, why in EQUIVALENT if fnmatch(function, name) and re.search(line, f"{old} -> {new}")), None
    )


def _verdicts() -> dict[str, str]:
    """Return what became of each mutant of `FUNCTIONS`, by name."""
    rows = re.findall(r"^\s*(\S+__mutmut_\d+): (.+?)\s*$", _mutmut("results", "--all", "true"), re.MULTILINE)
    return {name: verdict for name, verdict in rows if any(fnmatch(name, f"{f}__mutmut_*") for f in FUNCTIONS)}


def _mutmut(*words: str) -> str:
    ran = subprocess.run([sys.executable, "-m", "mutmut", *words], stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"mutmut {' '.join(words)} ended with {ran.returncode}")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
