"""The same chats through distilabel, for benchmarks/generate.py, which runs this in distilabel's own environment.

    python benchmarks/_distilabel.py BASE_URL REQUESTS.jsonl ROWS CONCURRENCY FOLDER

A batch of `CONCURRENCY` chats is what distilabel has under way at once. The cache, its way to continue a run, is on,
as it is by default.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path

from distilabel.models.llms import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import ChatGeneration


def main() -> None:
    """Run the pipeline and write its rows."""
    base_url, requests, rows, concurrency, folder = sys.argv[1:]
    with Path(requests).open() as lines:
        chats = [{"messages": json.loads(line)["messages"]} for line in islice(lines, int(rows))]
    sampling = {"temperature": 0.8, "max_new_tokens": 600, "response_format": {"type": "json_object"}}
    with Pipeline(name="bench", cache_dir=f"{folder}/cache") as pipeline:
        load = LoadDataFromDicts(data=chats, batch_size=int(concurrency))
        llm = OpenAILLM(model="test-model", base_url=base_url, api_key="none", generation_kwargs=sampling)
        write = ChatGeneration(llm=llm, input_batch_size=int(concurrency))
        load >> write
    made = pipeline.run()["default"]["train"]
    made.to_parquet(f"{folder}/distilabel.parquet")
    replies = [json.loads(text) for text in made["generation"]]
    assert len(replies) == int(rows), f"{len(replies)} of {rows} rows came back"


if __name__ == "__main__":
    main()
