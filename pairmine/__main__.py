"""`python -m pairmine` is `pairmine`."""

from __future__ import annotations

import sys
from typing import NoReturn

from pairmine.cli import interrupts


def run() -> NoReturn:
    """Run the command line as a process: interrupts are answered from here on, also while libraries are loaded."""
    try:
        with interrupts.heard(to_the_end=True):
            from pairmine.cli.main import main

            main()
    except (KeyboardInterrupt, RuntimeError) as error:
        # Up to Python 3.11 what comes while a class is made is the cause of a RuntimeError.
        if not isinstance(error.__cause__ or error, KeyboardInterrupt):
            raise
        interrupts.settle()
        sys.stderr.write(f"pairmine: {interrupts.CONTINUE}\n")
        sys.exit(interrupts.CODE)


if __name__ == "__main__":
    run()
