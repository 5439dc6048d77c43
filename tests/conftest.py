"""Signals as a terminal leaves them: what a script starts in the background ignores SIGINT, under nohup SIGHUP too,
and the commands that the tests start would inherit that."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
