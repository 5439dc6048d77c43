"""The tests' chat server in a process of its own, with replies that pass the checks of recipe `queries`.

python benchmarks/_chat_server.py DELAY_S     # prints its address
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from _words import answer
from llm_server import LLMServer

with LLMServer(lambda body: answer(body["messages"][-1]["content"]), delay_s=float(sys.argv[1])) as server:
    print(server.base_url, flush=True)
    threading.Event().wait()
