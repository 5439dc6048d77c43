"""`pairmine calibrate`: which threshold?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.llm_options import DryRun, LlmOptions, Probe, Set, Shots, takes_llm_options
from pairmine.cli.progress import Progress
from pairmine.cli.run import choice, given, say, without_effect
from pairmine.cli.store_options import DEFAULT, StorePath
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pairmine.cli.calibration_judge import SampleJudge
    from pairmine.files.lineage import Entry
    from pairmine.stages.calibrate import Calibration, Calibrator, Evidence

    Say = Callable[[str], None]

_PICKS = "Picks, as filter makes them"
_EVIDENCE = "What tells false negatives"
_TARGET = "Target"
_LABELS = 40
_JUDGED = 200


@takes_llm_options
def calibrate(
    context: typer.Context,
    pairs: Annotated[
        str,
        typer.Argument(
            help="Pair set with candidates and scores: a file, a folder of shards, or -.", show_default=False
        ),
    ],
    options: LlmOptions,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="NAME[@COLUMN][=VALUE,...]",
            help="Try these alone: relative-margin, absolute-margin, max-score, suspects, ranks (as many skipped), "
            "skip, and those that are tried only where they are named: min-score and, for positives, "
            "min-positive-score and consistency; as max-score@ce=0.3,0.5. A sample that is judged or labelled tells "
            "more of fewer thresholds, and with none what is false without a rule.",
        ),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor",
            metavar="min|median|mean|max|SHARE",
            help="What of the positives margins are held to; min by default, several are tried.",
        ),
    ] = None,
    hardness: Annotated[
        str | None, typer.Option("--hardness", metavar="COLUMN", help="Column that says how hard picks are.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="COLUMN", help="Score column that orders picks.", rich_help_panel=_PICKS),
    ] = None,
    negatives: Annotated[
        int, typer.Option("--negatives", min=1, help="Negatives per query.", rich_help_panel=_PICKS)
    ] = 5,
    pick: Annotated[str, typer.Option("--pick", help="top or random.", rich_help_panel=_PICKS)] = "random",
    pool: Annotated[
        int, typer.Option("--pool", min=1, help="How many of the best a sample is drawn from.", rich_help_panel=_PICKS)
    ] = 10,
    qrels: Annotated[
        str | None,
        typer.Option(
            "--qrels",
            metavar="FILE",
            help="Judgments: TREC qrels, a table with a header, a BEIR folder. Unjudged counts as a true negative.",
            rich_help_panel=_EVIDENCE,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Which judgments of a BEIR folder.", rich_help_panel=_EVIDENCE)
    ] = None,
    positive_from: Annotated[
        float | None,
        typer.Option(
            "--positive-from", help="Grades are relevant from here; above 0 without it.", rich_help_panel=_EVIDENCE
        ),
    ] = None,
    judged_only: Annotated[
        bool, typer.Option("--judged-only", help="Count judged candidates alone.", rich_help_panel=_EVIDENCE)
    ] = False,
    hide: Annotated[
        float,
        typer.Option(
            "--hide",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Hide this part of the positives of queries with several, and count those that are picked: the "
            "estimate where nothing else is named. 0 leaves estimates out.",
            rich_help_panel=_EVIDENCE,
        ),
    ] = 0.5,
    feedback: Annotated[
        str | None,
        typer.Option(
            "--feedback",
            metavar="st:MODEL",
            help="With --hide: compute score_feedback anew from the positives that are left, which 'suspects' reads. "
            "By default with the model that mined, where --store has its vectors; none leaves that estimate out.",
            rich_help_panel=_EVIDENCE,
        ),
    ] = None,
    store: StorePath = DEFAULT,
    naive_rate: Annotated[
        float | None,
        typer.Option(
            "--naive-rate",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="With --hide: what is false among picks without any rule, as a judge or labels told (--rule none); "
            "shares are estimated in proportion, and this one is taken as exact.",
            rich_help_panel=_EVIDENCE,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="SPEC",
            help="Ask a model about a sample: openai:MODEL, vllm:MODEL, ce:MODEL.",
            rich_help_panel=_EVIDENCE,
        ),
    ] = None,
    judge_threshold: Annotated[
        float,
        typer.Option("--judge-threshold", help="Its scores are relevant from here.", rich_help_panel=_EVIDENCE),
    ] = 0.5,
    label: Annotated[
        bool,
        typer.Option("--label", help="Label a sample yourself, here, into --labels.", rich_help_panel=_EVIDENCE),
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Labels of --label, as .jsonl; without --label those that are there.",
            rich_help_panel=_EVIDENCE,
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            help=f"How many candidates to judge ({_JUDGED}) or to label ({_LABELS}).",
            show_default=False,
            rich_help_panel=_EVIDENCE,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="What an LLM is asked; 'judge' by default, here with relation=relevance.",
            rich_help_panel="Recipe",
        ),
    ] = None,
    set_: Set = None,
    shots: Shots = None,
    dry_run: DryRun = False,
    probe: Probe = 0,
    target: Annotated[
        float | None,
        typer.Option(
            "--target-false-negatives",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Show what reaches this share of false negatives, as 0.05, and the command for it.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    confident: Annotated[
        bool,
        typer.Option(
            "--confident", help="Hold the upper end of the interval to it, not the estimate.", rich_help_panel=_TARGET
        ),
    ] = False,
    as_json: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE", help="Everything as JSON; - in place of the tables.", rich_help_panel="Output"
        ),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option("--plot", metavar="FILE.svg", help="The curves as a picture.", rich_help_panel="Output"),
    ] = None,
    seed: shared.Seed = 0,
    workers: shared.Workers = 0,
    quiet: shared.Quiet = False,
) -> None:
    """Which threshold? What each one of each rule of 'filter' would leave, and how much of that would be false.

    Before 'filter', to choose its numbers by what they do to this data. For every rule against false negatives that
    the columns allow, and some fifteen thresholds from loose to strict: the candidates that pass, negatives per
    query, queries short of them, how hard the picks are (mean score and rank), and the share of false negatives
    among them with a 95% interval. Rules for positives (--rule consistency) show the positives and queries that
    stay. Last come the thresholds to take, and a command to run.

    What tells false negatives: judgments (--qrels), a sample that a model judges (--judge) or that you label
    (--label), or, with none of these, known positives that are hidden among the candidates. Hidden positives tell
    which part of naive's false negatives a threshold leaves, naive being the picks without a rule, and not how many
    there are: --naive-rate takes that number, which a labelled sample tells.

    \b
      pairmine calibrate mined.parquet
      pairmine calibrate mined.parquet --naive-rate 0.4 --target-false-negatives 0.05
      pairmine calibrate mined.parquet --qrels qrels.tsv --plot curves.svg
      pairmine calibrate mined.parquet --label --labels labels.jsonl
      pairmine calibrate scored.parquet --judge openai:gpt-5-mini --sample 200 --dry-run
    """
    from pairmine.stages.calibrate import PICKS

    choice("--pick", pick, PICKS)
    if pick == "top":
        without_effect(context, "with --pick top", "pool")
    elif given(context, "pool") and pool < negatives:
        raise PairmineError(f"--pool {pool}: fewer than the {negatives} --negatives that are drawn from it")
    _check_evidence(context)
    _check_outputs(context)
    if confident and target is None:
        raise PairmineError("--confident has an effect with --target-false-negatives alone")

    tell = (lambda _: None) if quiet else say
    calibrator, entries = _calibrator(context, tell)
    if dry_run:
        _judged(context, options, calibrator, tell).estimate(probe)
        return
    evidence = _evidence(context, options, calibrator, entries, tell)
    with Progress("calibrate", quiet=quiet) as progress:
        progress.work(context.params["pairs"])
        found = calibrator.calibration(evidence)
    for remark in found.remarks:
        tell(remark)
    _show(context, found)


def _check_evidence(context: typer.Context) -> None:
    """Raise a PairmineError unless one source of evidence is named at most, with no option of another."""
    values = context.params
    named = [flag for flag, name in _SOURCES.items() if values[name] and (name != "hide" or given(context, name))]
    if len(named) > 1 and named != ["--label", "--labels"]:
        raise PairmineError(f"{' and '.join(named)} are several ways to tell false negatives; choose one")
    source = named[0] if named else "--hide"
    for flag, names in _TAKEN.items():
        if flag != source:
            without_effect(context, f"without {flag}", *(name for name in names if name not in _TAKEN.get(source, ())))
    if values["label"] and not values["labels"]:
        raise PairmineError("--label wants a file to keep labels in; pass --labels FILE")
    if values["label"] and values["pairs"] == "-":
        raise PairmineError("--label reads answers from standard input, so the pair set has to be a file")
    if values["dry_run"] and not values["judge"]:
        raise PairmineError("--dry-run has an effect with --judge alone")
    if values["target"] is not None and source == "--hide":
        from pairmine.stages.calibrate import ONLY_PARTS

        if not values["hide"]:
            raise PairmineError("--target-false-negatives wants an estimate; pass --qrels, --judge or --label")
        if values["naive_rate"] is None:
            raise PairmineError(f"--target-false-negatives: {ONLY_PARTS}")


_SOURCES = {"--qrels": "qrels", "--judge": "judge", "--label": "label", "--labels": "labels", "--hide": "hide"}
_LLM = tuple(LlmOptions.__dataclass_fields__)
_TAKEN: dict[str, tuple[str, ...]] = {
    "--qrels": ("split", "positive_from", "judged_only"),
    "--judge": ("store", "judge_threshold", "sample", "recipe", "set_", "shots", "dry_run", "probe", *_LLM),
    "--label": ("sample",),
    "--hide": ("feedback", "store", "naive_rate"),
}


def _check_outputs(context: typer.Context) -> None:
    from pairmine.files.partial import check_place

    values = context.params
    taken: dict[str, str] = {}
    for flag, name in (("--json", "as_json"), ("--plot", "picture"), ("--labels", "labels")):
        path = values[name]
        if path and path in (values["pairs"], values["qrels"]) and path != "-":
            raise PairmineError(f"{flag} {path}: is an input too and would be lost; name another file")
        if path and path in taken:
            raise PairmineError(f"{taken[path]} and {flag} both name {path}; give each a place of its own")
        if path:
            taken[path] = flag
    if (picture := values["picture"]) and picture != "-" and not picture.lower().endswith(".svg"):
        raise PairmineError(f"--plot {picture}: the picture is an SVG; give the file that ending")
    for path in (values["as_json"], picture):
        if path:
            check_place(path)


def _calibrator(context: typer.Context, tell: Say) -> tuple[Calibrator, list[Entry]]:
    """The pair set ready to try thresholds on, and its lineage."""
    from pairmine.files.source import open_pairs
    from pairmine.stages.calibrate import Calibrator

    values = context.params
    source = open_pairs(values["pairs"], tell)
    pairs = source.read()
    try:
        calibrator = Calibrator(
            pairs,
            by=values["by"],
            negatives=values["negatives"],
            pick=values["pick"],
            pool=values["pool"],
            seed=values["seed"],
            anchors=values["anchor"] or ["min"],
            rules=values["rule"],
            hardness=values["hardness"],
        )
    except PairmineError as error:
        raise PairmineError(f"{values['pairs']}: {error}") from None
    return calibrator, source.entries


def _evidence(
    context: typer.Context, options: LlmOptions, calibrator: Calibrator, entries: list[Entry], tell: Say
) -> Evidence | None:
    from pairmine.cli.calibration_feedback import measure_of
    from pairmine.stages.calibrate import HiddenPositives, Judgments

    values = context.params
    if values["qrels"]:
        from pairmine.files.qrels import read_judgments

        table = read_judgments(values["qrels"], tell, split=values["split"], positive_from=values["positive_from"])
        return Judgments(table, judged_only=values["judged_only"])
    if values["judge"]:
        return _judged(context, options, calibrator, tell).labels()
    if values["labels"]:
        return _labelled(context, calibrator)
    if not values["hide"]:
        return None
    if (problem := calibrator.cannot_hide) and not given(context, "hide"):
        tell(f"curves without estimates, since {problem}; pass --qrels, --judge or --label for them")
        return None
    measure = measure_of(context, calibrator.pairs, entries, tell) if calibrator.reads_feedback else None
    return HiddenPositives(values["hide"], values["seed"], values["naive_rate"], measure)


def _judged(context: typer.Context, options: LlmOptions, calibrator: Calibrator, tell: Say) -> SampleJudge:
    from pairmine.cli.calibration_judge import SampleJudge

    values = context.params
    return SampleJudge(
        context, options, calibrator.sample(values["sample"] or _JUDGED), threshold=values["judge_threshold"], tell=tell
    )


def _labelled(context: typer.Context, calibrator: Calibrator) -> Evidence:
    """Labels out of the file, after asking for more of them with --label."""
    from pairmine.cli.labelling import ask
    from pairmine.files import labels as files
    from pairmine.stages.calibrate import Labels
    from pairmine.stages.score import check_texts

    values = context.params
    with files.Labels(values["labels"]) as labels:
        if values["label"]:
            sample = calibrator.sample(values["sample"] or _LABELS)
            check_texts(sample)
            labels.open()
            ask(sample, calibrator.positives(sample["query_id"].to_pylist()), labels)
        if not len(labels):
            raise PairmineError(f"{values['labels']}: no labels yet; run the same command with --label to give some")
        return Labels(labels.table())


def _show(context: typer.Context, found: Calibration) -> None:
    from pairmine.cli.calibration_tables import answers, summary, tables
    from pairmine.files.partial import STDOUT, write_atomically
    from pairmine.stages.calibrate import answer
    from pairmine.stages.calibrate.plot import plot

    values = context.params
    target = values["target"]
    reached = None if target is None else answer(found, target, confident=values["confident"])
    if reached is not None and found.evidence is None:
        raise PairmineError("--target-false-negatives wants an estimate; pass --qrels, --judge or --label")
    if values["picture"]:
        write_atomically(values["picture"], plot(found, target=target))
    if values["as_json"]:
        body = found.to_dict() | ({} if reached is None else {"target": reached.to_dict()})
        write_atomically(values["as_json"], json.dumps(body, ensure_ascii=False, indent=2) + "\n")
    if values["as_json"] != STDOUT:
        pairs = values["pairs"]
        said = summary(found, pairs) if reached is None else answers(reached, found, pairs)
        write_atomically(STDOUT, "\n".join([*tables(found), *said]) + "\n")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(calibrate)
