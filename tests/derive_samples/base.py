"""What a recipe of `derive` is tried on in the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Sample:
    """An input that gives some pairs, and where one can, some rejected rows; None is the usual small corpus."""

    table: pa.Table | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
