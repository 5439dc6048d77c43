"""`pairmine doctor`: what is here, what is missing, and whether the core works."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from pairmine.cli.doctor.facts import BROKEN, MISSING, NOTE, OK, Section
from pairmine.errors import CHECK_FAILED

_MARKS = {OK: "  ", NOTE: "! ", MISSING: "- ", BROKEN: "x "}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what this machine has for pairmine, what is missing and the line that installs it, and try the core out.

    To be run first on a new machine, and to be sent along with a report of a fault: it shows no key and loads no
    model. The trial derives pairs from three documents, mines, filters and exports them in a temporary folder.

    \b
      pairmine doctor
      pairmine doctor --json
    """
    import json

    from pairmine.keys import without_keys

    found = examine()
    broken = [fact for section in found for fact in section.facts if fact.state == BROKEN]
    text = json.dumps(_as_dict(found, not broken), ensure_ascii=False, indent=2) if as_json else _page(found)
    _print(without_keys(text) + "\n")
    if broken:
        raise typer.Exit(CHECK_FAILED)


def _print(text: str) -> None:
    """Write to standard output, also where Arrow is broken, which all that writes files needs."""
    try:
        from pairmine.files.partial import STDOUT, write_atomically
    except ImportError:
        sys.stdout.write(text)
    else:
        write_atomically(STDOUT, text)


def examine() -> list[Section]:
    """Everything there is to say, section by section."""
    from pairmine.cli.doctor import machine, packages, places, trial
    from pairmine.cli.doctor.facts import section

    torch = machine.TorchProbe()  # the slowest, so it runs beside all others
    found = [
        section("versions", packages.versions),
        section("packages", packages.packages),
        section("machine", machine.machine),
        section("models at hand", places.models),
        section("kept from run to run", places.kept),
        section("free space", places.space),
        section("environment", lambda: places.variables(places.known_variables())),
        section("terminal", machine.terminal),
        section("trial of the core", trial.trial),
    ]
    found.insert(3, section("devices", torch.facts))
    return found


def _as_dict(found: list[Section], works: bool) -> dict[str, Any]:
    sections = {
        section.title: [
            {"name": fact.name, "value": fact.value, "state": fact.state, "remedy": fact.remedy or None}
            for fact in section.facts
        ]
        for section in found
    }
    return {"works": works, "sections": sections}


def _page(found: list[Section]) -> str:
    """All sections, then what to do, the worst first."""
    lines: list[str] = []
    for section in found:
        width = max((len(fact.name) for fact in section.facts), default=0)
        lines += [section.title, *(f"{_MARKS[fact.state]}{fact.name:<{width}}  {fact.value}" for fact in section.facts)]
        lines.append("")
    return "\n".join([*lines, *_advice(found)])


def _advice(found: list[Section]) -> list[str]:
    facts = [fact for section in found for fact in section.facts]
    lines = []
    for state, title in ((BROKEN, "broken"), (NOTE, "worth a look"), (MISSING, "not installed")):
        rows = [fact for fact in facts if fact.state == state and fact.remedy]
        width = max((len(fact.name) for fact in rows), default=0)
        if rows:
            lines += [title, *(f"  {fact.name:<{width}}  {fact.remedy}" for fact in rows), ""]
    works = not any(fact.state == BROKEN for fact in facts)
    return [*lines, "the core works" if works else "the core does not work; mend what is broken"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)
