"""A stand-in for rerank servers, by their documented requests and replies: vLLM's, Jina's, TEI's.

A pair's score is the share of the query's words that the document has; what a real vLLM does is in tests/vllm.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from llm_server import Bend, LLMServer, Request, Response, error, reply

Plan = Callable[[dict[str, Any], int], Response | Bend | None]
"""(body, how many requests came before) -> what is sent in place of the answer, or bends it."""


class RerankServer(LLMServer):
    """`asked` counts the pairs that got a score. `kind` is "jina" or "tei"; `most` is how many documents it takes.

    With `cuts` False a pair of more than `longest` characters is refused, unless it is to be cut.
    """

    def __init__(
        self, plan: Plan | None = None, *, kind: str = "jina", most: int = 1000, longest: int = 10**9, **more: Any
    ) -> None:
        super().__init__(keeps_bodies=True, **more)
        self.fails, self.kind, self.most, self.longest = plan, kind, most, longest
        self.asked: Counter[tuple[str, str]] = Counter()
        self.value: Callable[[str, str], Any] = overlap
        self.shape: Callable[[Any], Any] = lambda value: value
        self.route("POST", "/v1/rerank", self._rerank)
        self.route("POST", "/v1/score", self._score)

    def _rerank(self, request: Request) -> Response:
        body, planned = self._taken(request)
        if isinstance(planned, Response):
            return planned
        name = "texts" if self.kind == "tei" else "documents"
        if name not in body:
            line = f"Failed to deserialize the JSON body into the target type: missing field `{name}` at line 1"
            return Response(422, line.encode(), content_type="text/plain")
        pairs = [(body["query"], document) for document in body[name]]
        if refused := self._refused_pairs(body, pairs):
            return refused
        best = sorted(enumerate(self._values(pairs)), key=lambda each: (_order(each[1]), each[0]))
        if self.kind == "tei":
            return self._sent(planned, [{"index": place, "score": value} for place, value in best], pairs)
        # Without a top_n only the best three come, as some servers have it.
        best = best[: body.get("top_n", 3)]
        results = [{"index": place, "relevance_score": value, "document": {"text": "..."}} for place, value in best]
        value = {"model": "m", "results": results, "usage": {"total_tokens": len(pairs)}}
        return self._sent(planned, value, pairs)

    def _score(self, request: Request) -> Response:
        body, planned = self._taken(request)
        if isinstance(planned, Response):
            return planned
        pairs = list(zip(body["text_1"], body["text_2"], strict=True))
        if refused := self._refused_pairs(body, pairs):
            return refused
        data = [{"index": place, "object": "score", "score": value} for place, value in enumerate(self._values(pairs))]
        return self._sent(planned, {"object": "list", "data": data, "usage": {"prompt_tokens": len(pairs)}}, pairs)

    def _sent(self, planned: Bend | None, value: Any, pairs: list[tuple[str, str]]) -> Response:
        answered = reply(200, self.shape(value), paid=tuple(map("\t".join, pairs)))
        return answered if planned is None else planned(answered)

    def _taken(self, request: Request) -> tuple[dict[str, Any], Response | Bend | None]:
        before = self.requests
        self.requests += 1
        body = request.json()
        if refused := self._locked(request):
            return body, refused
        self.bodies.append(body)
        if body.get("model", self.models[0]) not in self.models:
            return body, error(404, f"The model `{body['model']}` does not exist", code="model_not_found")
        return body, self.fails(body, before) if self.fails is not None else None

    def _refused_pairs(self, body: dict[str, Any], pairs: list[tuple[str, str]]) -> Response | None:
        if len(pairs) > self.most:
            return error(422, f"batch size {len(pairs)} > maximum allowed batch size {self.most}")
        is_cut = body.get("truncate") or body.get("truncate_prompt_tokens")
        if not is_cut and any(len(query) + len(document) > self.longest for query, document in pairs):
            if self.kind == "tei":
                return error(413, "Input validation error: `inputs` must have less than 512 tokens. Given: 530")
            return error(400, "This model's maximum context length is 512 tokens. However, your prompt contains more")
        return None

    def _values(self, pairs: list[tuple[str, str]]) -> list[Any]:
        self.asked.update(pairs)
        return [self.value(*pair) for pair in pairs]


def overlap(query: str, document: str) -> float:
    """The share of the query's words that the document has."""
    words = query.split()
    return sum(word in document.split() for word in words) / max(len(words), 1)


def _order(value: Any) -> float:
    return -value if isinstance(value, float) and math.isfinite(value) else 0.0
