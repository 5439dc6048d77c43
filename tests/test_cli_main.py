"""How the command starts: which modules it imports, and what it says to a command that there is none of."""

from __future__ import annotations

import subprocess
import sys

COUNT = """
import sys
from pairmine.cli.main import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print(sorted(name for name in sys.modules if name in {"pairmine.cli.score", "pairmine.cli.dedup", "pyarrow"}))
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", COUNT, *words], capture_output=True, text=True, check=False)


def test_a_command_does_not_wait_for_the_modules_of_the_others() -> None:
    assert run("dedup", "--help").stdout.splitlines()[-1] == "['pairmine.cli.dedup']"


def test_help_lists_the_commands_in_the_order_of_the_data() -> None:
    lines = run("--help").stdout.split("Commands:")[1].splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ") and line[2] not in " -"]
    assert names[:4] == ["recipes", "derive", "generate", "ledger"]
    assert names.index("convert") < names.index("info") < names.index("head") < names.index("stats")


def test_a_misspelt_command_is_told_which_one_was_meant() -> None:
    done = subprocess.run([sys.executable, "-m", "pairmine", "dedpu", "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pairmine: no such command 'dedpu'; did you mean 'dedup'? See 'pairmine --help'\n"
