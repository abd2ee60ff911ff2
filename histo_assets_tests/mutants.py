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
    f"{CORE}.learning.evaluation.x_confusion",
    f"{CORE}.learning.look_alikes.x_mistaken_figures",
    f"{CORE}.learning.look_alikes.x__share",
    f"{CORE}.prediction.comparison.x_recoverable_genes",
    f"{CORE}.prediction.comparison.x__why_not",
    f"{CORE}.prediction.metrics.x_*",
    f"{CORE}.prediction.scoring.x__products",
    f"{CORE}.prediction.scoring.x__statistic",
    f"{CORE}.projection.joint.x_joint_space",
    f"{CORE}.projection.joint.x_matching_figures",
    f"{CORE}.projection.joint.x__closer_than_partner",
    f"{CORE}.projection.joint.x__unit_block",
    f"{CORE}.tiling.quality.x_judge*",
    f"{CORE}.tiling.quality.x__lower_quarter",
    f"{CORE}.tiling.sampling.x_*",
    "histo_assets.storage.prune.x__has_passed",
    "histo_assets.storage.prune.x__doubt",
    "histo_assets.storage.prune.x__expired",
)
EQUIVALENT = (
    # (function, regular expression of the changed line, why no test can tell)
    ("*", r"np\.errstate\(", "it silences a warning, and changes no number"),
    ("*", r"dtype=None|, \)+[,)]?|\.astype\(None\)|to_numpy\(None\)", "the type is what the values have already"),
    ("*", r"strict=(None|False)|zip\(.*, \)\)", "both sides have one length by construction"),
    ("*", r"size >= 1e-12|spread >= 1e-12", "no sum of squares is exactly 1e-12"),
    (
        "*.x_recoverable_genes",
        r"index=(None|True)|kind=(None|\"\w*\")|ascending=False, \)",
        "rows are read by name; ties keep their order in tables this short",
    ),
    ("*.x_mistaken_figures", r"bootstraps: int = 1001|seed: int = 1$|seed: int = 1,?$", "a default of chance alone"),
    ("*.x_matching_figures", r"\bbreak\b", "groups of one sample are left out before"),
    ("*.x_confusion", r"counts = np\.zeros", "the table is made one of whole numbers after"),
    ("*.x__unit_block", r"else 2\.0", "of a constant block nothing is left to divide"),
    ("*.x__level", r"default=", "where there are no slides the number is compared with none"),
    ("*.x__level", r"count >= share", "a slide that has its share exactly gives it either way"),
    ("*.x__doubt", r"begun >= current", "no two versions begin in one microsecond"),
)
_DIFF = re.compile(r"^([-+]) (.*)$", re.MULTILINE)


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
    for mutant in [name for name, verdict in verdicts.items() if verdict == "survived"]:
        changes = _DIFF.findall(_mutmut("show", mutant))
        new = [line.strip() for sign, line in changes if sign == "+"]
        function = mutant.rpartition("__mutmut_")[0]
        reason = next((why for name, line, why in EQUIVALENT if fnmatch(function, name) and _any(line, new)), None)
        if reason:
            named[reason] += 1
        else:
            unnamed.append(f"{mutant}\n" + "\n".join(f"  {sign} {line.strip()}" for sign, line in changes))
    print(f"{len(verdicts)} mutants, {sum(v == 'killed' for v in verdicts.values())} killed")
    print(*(f"{count} named: {reason}" for reason, count in named.most_common()), sep="\n")
    print(*(f"survived: {mutant}" for mutant in unnamed), sep="\n")
    return 1 if unnamed or not verdicts else 0


def _verdicts() -> dict[str, str]:
    """Return what became of each mutant of `FUNCTIONS`, by name."""
    rows = re.findall(r"^\s*(\S+__mutmut_\d+): (.+?)\s*$", _mutmut("results", "--all", "true"), re.MULTILINE)
    return {name: verdict for name, verdict in rows if any(fnmatch(name, f"{f}__mutmut_*") for f in FUNCTIONS)}


def _any(pattern: str, lines: list[str]) -> bool:
    return any(re.search(pattern, line) for line in lines)


def _mutmut(*words: str) -> str:
    ran = subprocess.run([sys.executable, "-m", "mutmut", *words], stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode and words[0] != "run":
        raise SystemExit(f"mutmut {' '.join(words)} ended with {ran.returncode}")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
