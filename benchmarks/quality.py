"""False negatives against hardness, by rule, on collections judged by people: `filter` and the rules of other tools.

    python benchmarks/quality.py --work FOLDER                            # eight collections
    python benchmarks/quality.py --work FOLDER --no-cross-encoder         # those rules left out: minutes, not hours
    python benchmarks/quality.py --work FOLDER --collections cranfield cisi --seeds 0 1 2 --plot curves.svg
    python benchmarks/quality.py --work FOLDER --rule 'mine=--by dense --no-suspects --pick top --ranks {}: @ 6 11 21'

Half of each query's positives are hidden, MiniLM mines 300 candidates, a rule decides on five negatives, and the
hidden positives among these are its false negatives. A rule can look clean by choosing easy negatives or by leaving
queries short, so every rule is a curve over its settings, and rules are compared where they are equally hard (mean
cosine to the query). Vectors, candidates and scores stay in the work folder; with them a run takes minutes.

The rules of other tools are options of `pairmine filter` on the same candidates. For `--as-itself` collections
sentence-transformers' own `mine_hard_negatives` decides as well, given pairmine's vectors and scores in place of the
models, and the share of its negatives that these options choose too is shown.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
from _quality import DEPTH, LOWEST_GRADE, NEGATIVES, Candidates, Measure, add_options, candidates, read_collection

Setting = str
Curve = dict[Setting, Measure]
Measures = dict[str, dict[str, Curve]]
"""By collection, then by rule, then by setting."""


@dataclass(frozen=True)
class Rule:
    """Options of `filter` with a hole for what makes them stricter, and the settings that are published, by name."""

    flags: str
    settings: tuple[Setting, ...]
    published: Mapping[str, Setting]

    @property
    def rescored(self) -> bool:
        """Whether it goes by the cross-encoder."""
        return re.search(r"\bce\b", self.flags) is not None

    def flags_for(self, setting: Setting) -> str:
        """The options at one setting."""
        return self.flags.replace("{}", setting)


OURS = "ours"
THEIRS = "--no-suspects --pick top"
"""What switches off pairmine's own rule, and takes the hardest that are left as other tools do."""
BARE = f"--by dense --no-relative-margin {THEIRS}"
RANDOM = f"--by dense --no-relative-margin --no-suspects --pick random --pool {DEPTH}"
MARGINS = ("0", "0.02", "0.05", "0.1", "0.2", "0.4", "0.6", "0.8", "0.9")
PROBABILITIES = ("0.95", "0.9", "0.7", "0.5", "0.3", "0.2", "0.1", "0.05", "0.02")
OUR_RULE = Rule(
    "--by dense --no-relative-margin --suspects {} --pick top",
    ("0", "0.3", "0.6", "1", "2", "3", "5", "7", "10", "13", "16", "20", "25", "30", "40", "50", "70", "100", "140"),
    {"10 suspects leave": "10"},
)
ABLATION = {
    f"ours, {what}": Rule(f"{OUR_RULE.flags} {flags}", OUR_RULE.settings, {})
    for what, flags in {
        "by the score alone": "--suspects-by dense",
        "by the feedback alone": "--suspects-by feedback",
        "with the cross-encoder": "--suspects-by dense,feedback,ce",
        "among the best 100": "--suspects-pool 100",
        "among all 300": "--suspects-pool 300",
    }.items()
}
"""Our rule with parts of it changed, for `--ablation`."""
RIVALS = {
    "skip": Rule(
        f"{BARE} --ranks {{}}:",
        ("1", "2", "4", "6", "11", "16", "21", "31", "51", "81", "121"),
        {"naive top 5": "1", "skip 10": "11"},
    ),
    "FlagEmbedding's range": Rule(
        f"{RANDOM} --ranks 11:{{}}",
        ("30", "60", "110", "210", "300"),
        {"10-210, at random (FlagEmbedding)": "210"},
    ),
    "random": Rule(
        f"{RANDOM} --ranks :{{}}",
        ("5", "10", "20", "50", "100", "200", "300"),
        {"any of 50 (GPL)": "50"},
    ),
    "absolute margin, bi-encoder": Rule(
        f"{BARE} --absolute-margin {{}}",
        ("0", "0.02", "0.05", "0.1", "0.15", "0.2", "0.3"),
        {"below the lowest positive (contrastors)": "0", "0.05 below it (NV-Retriever TopK-MarginPos)": "0.05"},
    ),
    "relative margin, bi-encoder": Rule(
        f"--by dense --relative-margin {{}} {THEIRS}",
        ("0", "0.02", "0.05", "0.1", "0.15", "0.2", "0.3", "0.4"),
        {"0.95 of it, bi-encoder (sentence-transformers, NeMo, NV-Retriever)": "0.05"},
    ),
    "relative margin, cross-encoder": Rule(
        f"--by ce --relative-margin {{}} {THEIRS}",
        MARGINS,
        {"0.95 of it, cross-encoder (sentence-transformers)": "0.05"},
    ),
    "relative margin, cross-encoder, then by cosine": Rule(
        f"--by dense --relative-margin ce:{{}} {THEIRS}",
        MARGINS,
        {"0.95 of it, cross-encoder, the hardest by cosine": "0.05"},
    ),
    "SimANS": Rule(
        "--by dense --no-relative-margin --no-suspects --pick simans:a=200,b={}",
        ("-0.3", "-0.2", "-0.15", "-0.1", "-0.05", "0", "0.05", "0.1"),
        {"near the lowest positive (SimANS)": "0"},
    ),
    "highest cosine": Rule(f"{BARE} --max-score {{}}", ("0.75", "0.7", "0.65", "0.6", "0.55", "0.5"), {}),
    "highest probability": Rule(
        f"--by ce --no-relative-margin --max-score {{}} {THEIRS}",
        PROBABILITIES,
        {"cross-encoder below 0.3 (sentence-transformers)": "0.3"},
    ),
    "highest probability, then by cosine": Rule(
        f"{BARE} --max-score ce:{{}}",
        PROBABILITIES,
        {
            "cross-encoder below 0.3, the hardest by cosine": "0.3",
            "cross-encoder below 0.1, the hardest by cosine (RocketQA)": "0.1",
        },
    ),
}
ITSELF: dict[str, dict[str, Any]] = {
    "naive top 5": {},
    "0.05 below it (NV-Retriever TopK-MarginPos)": {"absolute_margin": 0.05},
    "0.95 of it, bi-encoder (sentence-transformers, NeMo, NV-Retriever)": {"relative_margin": 0.05},
    "0.95 of it, cross-encoder (sentence-transformers)": {"relative_margin": 0.05, "rescored": True},
    "cross-encoder below 0.3 (sentence-transformers)": {"max_score": 0.3, "rescored": True},
}
"""What `mine_hard_negatives` is given for the same rule."""
PUBLISHED = {
    label: rule.flags_for(setting) for rule in (*RIVALS.values(), OUR_RULE) for label, setting in rule.published.items()
}
"""The options of every rule at its published setting, ours among them."""
GOALS = ("skip 10", "0.95 of it, bi-encoder (sentence-transformers, NeMo, NV-Retriever)")
"""What every rule of ours is held against."""
FEWEST_FALSE = 10
"""A rival's setting with fewer false negatives than these says nothing of a ratio."""
NAIVE_SLACK = 0.002
MEAN = "mean"


def main() -> None:
    """Measure every rule at every setting, collection by collection, and print the tables."""
    options = _options()
    rules = {**RIVALS, OURS: OUR_RULE, **(ABLATION if options.ablation else {}), **dict(options.rule)}
    if options.no_cross_encoder:
        rules = {name: rule for name, rule in rules.items() if not rule.rescored}
    measures: Measures = {}
    for name in options.collections:
        measures[name] = _measured(name, rules, options)
        print(f"\n### {name}\n\n{_table(rules, measures[name])}", flush=True)
        if options.json:
            _write_json(options.json, rules, measures)
    if len(measures) > 1:
        print(f"\n### mean of {len(measures)} collections\n\n{_mean_table(rules, measures)}")
    for label in GOALS:
        print(f"\n### false negatives over those of '{label}', at its hardness\n\n{_over(label, rules, measures)}")
    print(f"\n### the worst ratio over every setting of every rival\n\n{_worst_of_all(rules, measures)}")
    for ours in [OURS, *dict(options.rule)]:
        print(f"\n### {ours}: false negatives over a rival's, at its hardness\n\n{_ratios(ours, rules, measures)}")
        print(f"\n### {ours}: the worst such ratio of a rival's whole curve\n\n{_worst(ours, rules, measures)}")
    if options.plot:
        options.plot.write_text(_svg(rules, measures), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, tuple(LOWEST_GRADE))
    parser.add_argument("--rule", action="append", type=_named_rule, default=[], metavar="NAME=FLAGS @ SETTINGS")
    parser.add_argument("--ablation", action="store_true", help="our rule with parts of it changed, too")
    parser.add_argument("--as-itself", nargs="*", default=["cranfield"], help="where sentence-transformers runs, too")
    parser.add_argument("--json", type=Path, help="write every measure there")
    parser.add_argument("--plot", type=Path, help="write the mean curves there, as SVG")
    return parser.parse_args()


def _named_rule(text: str) -> tuple[str, Rule]:
    """A rule from the command line: NAME=FLAGS with {} in them, @, the settings."""
    name, equals, rest = text.partition("=")
    flags, at, settings = rest.rpartition("@")
    if not equals or not at or "{}" not in flags:
        raise argparse.ArgumentTypeError("write it as NAME=FLAGS with {} @ SETTING SETTING ...")
    return name.strip(), Rule(flags.strip(), tuple(settings.split()), {})


def _measured(name: str, rules: Mapping[str, Rule], options: argparse.Namespace) -> dict[str, Curve]:
    """Every rule's curve on one collection; the sums of several seeds are added up."""
    curves: dict[str, Curve] = {rule: {} for rule in rules}
    for seed in options.seeds:
        here = candidates(read_collection(options.data, name, seed), seed, options)
        for key, rule in rules.items():
            for setting in rule.settings:
                found = here.measure(here.negatives(rule.flags_for(setting)))
                curves[key][setting] = curves[key][setting] + found if setting in curves[key] else found
        if name in options.as_itself and seed == options.seeds[0]:
            _as_itself(here, options)
    return curves


def _published(rules: Mapping[str, Rule]) -> list[tuple[str, str, Setting]]:
    """Label, rule and setting of every row of the tables; a rule without published settings has no row."""
    return [(label, name, setting) for name, rule in rules.items() for label, setting in rule.published.items()]


def _table(rules: Mapping[str, Rule], curves: Mapping[str, Curve]) -> str:
    rows = [_MEASURES]
    for label, name, setting in _published(rules):
        found = curves[name][setting]
        short = f"{found.short:,} of {found.queries:,}"
        rows.append(_row(label, [f"{found.false_rate:.3f}", f"{found.cosine:.3f}", f"{found.rank:.1f}", short]))
    return "\n".join(rows)


def _mean_table(rules: Mapping[str, Rule], measures: Measures) -> str:
    rows = [_MEASURES]
    for label, name, setting in _published(rules):
        found = [curves[name][setting] for curves in measures.values()]
        false, cosine = fmean(each.false_rate for each in found), fmean(each.cosine for each in found)
        rank, short = fmean(each.rank for each in found), fmean(each.short_rate for each in found)
        rows.append(_row(label, [f"{false:.3f}", f"{cosine:.3f}", f"{rank:.1f}", f"{short:.1%}"]))
    return "\n".join(rows)


_MEASURES = f"| {NEGATIVES} negatives | false | cosine | rank | short |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Point:
    """A place on a curve: how hard, how false, how many queries short; `false` negatives were counted for it."""

    cosine: float
    false_rate: float
    short_rate: float
    false: float


def _points(curve: Curve) -> list[Point]:
    return [Point(each.cosine, each.false_rate, each.short_rate, each.false) for each in curve.values()]


def _mean_points(rule: str, measures: Measures) -> list[Point]:
    """The curve whose points are means over the collections, setting by setting."""
    every = [_points(curves[rule]) for curves in measures.values()]
    return [
        Point(
            cosine=fmean(point.cosine for point in points),
            false_rate=fmean(point.false_rate for point in points),
            short_rate=fmean(point.short_rate for point in points),
            false=sum(point.false for point in points),
        )
        for points in zip(*every, strict=True)
    ]


def _at(points: Sequence[Point], cosine: float) -> Point | None:
    """The place of a curve at this hardness, between its two nearest points; None where it is nowhere as hard.

    Where all of a curve is harder, its easiest point, which is at least as hard, stands for it.
    """
    ordered = sorted(points, key=lambda point: point.cosine)
    if not ordered or cosine > ordered[-1].cosine + 1e-9:
        return None
    upper = next(number for number, point in enumerate(ordered) if point.cosine + 1e-9 >= cosine)
    if upper == 0:
        return ordered[0]
    low, high = ordered[upper - 1], ordered[upper]
    share = (cosine - low.cosine) / max(high.cosine - low.cosine, 1e-12)
    ends = zip(asdict(low).values(), asdict(high).values(), strict=True)
    return Point(*(start + share * (end - start) for start, end in ends))


def _every_curve(rule: str, measures: Measures) -> dict[str, list[Point]]:
    """The points of a rule by collection, and of the mean where there are several."""
    found = {name: _points(curves[rule]) for name, curves in measures.items()}
    return found | ({MEAN: _mean_points(rule, measures)} if len(measures) > 1 else {})


def _over(label: str, rules: Mapping[str, Rule], measures: Measures) -> str:
    """Every rule that is no rival's, against one published setting of a rival."""
    rival = next(name for name, rule in RIVALS.items() if label in rule.published)
    rows = [_header("rule", measures)]
    for name in rules:
        if name not in RIVALS:
            rows.append(_row(name, _cells(name, rival, RIVALS[rival].published[label], measures)))
    return "\n".join(rows)


def _ratios(ours: str, rules: Mapping[str, Rule], measures: Measures) -> str:
    """One rule at the hardness of every published setting of a rival."""
    rows = [_header("at the hardness of", measures)]
    for label, rival, setting in _published(rules):
        if rival in RIVALS:
            rows.append(_row(label, _cells(ours, rival, setting, measures)))
    return "\n".join(rows)


def _header(first: str, measures: Measures) -> str:
    names = list(_every_curve(OURS, measures))
    return f"{_row(first, names)}\n{'|---' * (len(names) + 1)}|"


def _row(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _cells(ours: str, rival: str, setting: Setting, measures: Measures) -> list[str]:
    """By collection: our false negatives over the rival's, and how many queries each leaves short."""
    place = list(RIVALS[rival].settings).index(setting)
    mine, theirs = _every_curve(ours, measures), _every_curve(rival, measures)
    return [_ratio_cell(mine[name], theirs[name][place]) for name in mine]


def _ratio_cell(mine: Sequence[Point], rival: Point) -> str:
    here = _at(mine, rival.cosine)
    if here is None:
        return "never as hard"
    ratio = f"{here.false_rate / rival.false_rate:.2f}" if rival.false else "none false"
    return f"{ratio} ({here.false_rate:.3f}/{rival.false_rate:.3f}), short {here.short_rate:.0%}/{rival.short_rate:.0%}"


def _worst_of_all(rules: Mapping[str, Rule], measures: Measures) -> str:
    """By collection, for every rule that is no rival's; below 1 its whole curve is the lowest."""
    rows = [_header("rule", measures)]
    for ours in rules:
        if ours not in RIVALS:
            by_rival = [_worst_ratios(ours, rival, measures) for rival in rules if rival in RIVALS]
            rows.append(_row(ours, [_ratio(max(found)) for found in zip(*by_rival, strict=True)]))
    return "\n".join(rows)


def _worst(ours: str, rules: Mapping[str, Rule], measures: Measures) -> str:
    """By rival and collection: the highest ratio over the rival's settings."""
    rows = [_header("rival", measures)]
    for rival in rules:
        if rival in RIVALS:
            rows.append(_row(rival, [_ratio(found) for found in _worst_ratios(ours, rival, measures)]))
    return "\n".join(rows)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value else "-"


def _worst_ratios(ours: str, rival: str, measures: Measures) -> list[float]:
    """By collection; 0 where the rival has no setting that tells.

    One that lets the naive negatives through, where all curves begin, tells as little as one with hardly any false.
    """
    mine, theirs = _every_curve(ours, measures), _every_curve(rival, measures)
    return [max(_ratios_along(mine[name], theirs[name]), default=0.0) for name in mine]


def _ratios_along(mine: Sequence[Point], theirs: Sequence[Point]) -> Iterator[float]:
    naive = max(point.cosine for point in mine)
    for point in theirs:
        here = _at(mine, point.cosine)
        if here is not None and point.false >= FEWEST_FALSE and point.cosine < naive - NAIVE_SLACK:
            yield here.false_rate / point.false_rate


def _as_itself(here: Candidates, options: argparse.Namespace) -> None:
    """Let sentence-transformers decide on the same vectors and scores, and say how much of its choice is the same."""
    from _quality_peer import decided_by_sentence_transformers

    print(f"\n{here.collection.name}: what mine_hard_negatives itself chooses of these candidates")
    among = set(_ids(pq.read_table(here.path, columns=["query_id", "doc_id"])))
    for label, rule, setting in _published(RIVALS):
        if label in ITSELF and not (RIVALS[rule].rescored and options.no_cross_encoder):
            found = decided_by_sentence_transformers(here, options.work, **ITSELF[label])
            theirs, ours = found & among, set(_ids(here.negatives(RIVALS[rule].flags_for(setting))))
            beyond = f"{len(found - among):,} more are deeper or near copies"
            print(f"  {label}: {len(theirs & ours):,} of {len(theirs | ours):,} are the same; {beyond}", flush=True)


def _ids(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(table["query_id"].to_pylist(), table["doc_id"].to_pylist(), strict=True)


_WIDTH, _HEIGHT, _EDGE, _LEGEND = 900, 480, 60, 290
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f3b08",
    "#5e3c99",
    "#666666",
    "#000000",
)


def _svg(rules: Mapping[str, Rule], measures: Measures) -> str:
    """The mean curves: hardness across, false negatives up."""
    curves = {name: sorted(_mean_points(name, measures), key=lambda point: point.cosine) for name in rules}
    every = [point for points in curves.values() for point in points]
    left, right = min(point.cosine for point in every), max(point.cosine for point in every)
    top = max(point.false_rate for point in every)
    wide, high = _WIDTH - _EDGE - _LEGEND, _HEIGHT - 2 * _EDGE

    def at(cosine: float, false_rate: float) -> str:
        x = _EDGE + wide * (cosine - left) / (right - left)
        return f"{x:.1f},{_HEIGHT - _EDGE - high * false_rate / top:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">']
    parts += ['<rect width="100%" height="100%" fill="white"/>']
    parts += [_words(_EDGE, 24, f"False negatives by hardness, mean of {len(measures)} collections", size=16)]
    parts += [_words(_EDGE, _HEIGHT - 14, f"mean cosine to the query, {left:.2f} to {right:.2f}")]
    parts += [_words(4, _EDGE - 10, f"{top:.0%} of the negatives are false"), _words(_EDGE - 24, _HEIGHT - _EDGE, "0")]
    parts += [f'<path d="M{at(left, top)}L{at(left, 0)}L{at(right, 0)}" fill="none" stroke="#555"/>']
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = " ".join(at(point.cosine, point.false_rate) for point in points)
        thick = 1.5 if name in RIVALS else 4
        parts += [f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{thick}"/>']
        parts += [_words(_WIDTH - _LEGEND + 20, _EDGE + 22 * number, name, colour=colour)]
    return "\n".join([*parts, "</svg>", ""])


def _words(x: float, y: float, text: str, *, size: int = 13, colour: str = "#222") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{escape(text)}</text>'


def _write_json(path: Path, rules: Mapping[str, Rule], measures: Measures) -> None:
    """Every measure so far: the sums, and the rates that they give."""
    rates = ("false_rate", "cosine", "rank", "short_rate")
    found = {
        name: {
            rule: {
                setting: {**asdict(each), **{rate: getattr(each, rate) for rate in rates}}
                for setting, each in curve.items()
            }
            for rule, curve in curves.items()
        }
        for name, curves in measures.items()
    }
    told = {name: asdict(rule) for name, rule in rules.items()}
    path.write_text(json.dumps({"rules": told, "measures": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
