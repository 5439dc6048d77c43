"""What every test starts from.

Signals as a terminal leaves them: what a script starts in the background ignores SIGINT, under nohup SIGHUP too,
and the commands that the tests start would inherit that. And no vectors of earlier runs, which would make
a test of embedding pass without embedding anything: those that are about the store name one.
"""

from __future__ import annotations

import os
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ["PAIRMINE_STORE"] = "none"
