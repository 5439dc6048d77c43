"""A server of embeddings for tests: the vectors of `FakeEncoder` times three, failing by plan."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from llm_server import Bend, LLMServer, Request, Response, error, reply

from pairmine.backends.encoders import FakeEncoder

Plan = Callable[[dict[str, Any], int], Response | Bend | None]
"""(body, how many requests came before) -> what is sent in place of the answer, or bends it."""


class EmbeddingServer(LLMServer):
    """`asked` counts the texts that got a vector. `most` is how many texts a request may have."""

    def __init__(
        self, plan: Plan | None = None, *, knows: tuple[str, ...] = ("float", "base64"), most: int = 2048, **more: Any
    ) -> None:
        super().__init__(keeps_bodies=True, **more)
        self.fails, self.knows, self.most = plan, knows, most
        self.asked: Counter[str] = Counter()
        self.shape: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda data: data
        self.vectors: Callable[[list[str]], np.ndarray] = lambda texts: FakeEncoder().encode(texts, "document") * 3
        self.route("POST", "/v1/embeddings", self._embed)

    def _embed(self, request: Request) -> Response:
        before = self.requests
        self.requests += 1
        if refused := self._locked(request):
            return refused
        body = request.json()
        self.bodies.append(body)
        if body["model"] not in self.models:
            return error(404, f"The model `{body['model']}` does not exist", code="model_not_found")
        planned = self.fails(body, before) if self.fails is not None else None
        if isinstance(planned, Response):
            return planned
        texts = body["input"]
        if len(texts) > self.most:
            return error(422, f"batch size {len(texts)} > maximum allowed batch size {self.most}")
        form = body.get("encoding_format", "float")
        if form not in self.knows:
            return error(400, f"encoding_format: {form} is not supported", param="encoding_format")
        self.asked.update(texts)
        vectors = self.vectors(texts)[:, : body.get("dimensions")]
        data = [{"index": place, "embedding": _form(vector, form)} for place, vector in enumerate(vectors)]
        words = sum(len(text.split()) for text in texts)
        value = {"object": "list", "data": self.shape(data), "model": body["model"], "usage": {"prompt_tokens": words}}
        answered = reply(200, value, delay_s=self.delay_s, paid=tuple(texts))
        return answered if planned is None else planned(answered)


def _form(vector: np.ndarray, form: str) -> Any:
    if form == "base64":
        return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
    return [float(value) if np.isfinite(value) else None for value in vector]
