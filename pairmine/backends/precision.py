"""What numbers a model computes in: float32, or 16 bits where the machine multiplies those faster.

Lowered are the matrix products alone, where the time goes, and of a cross-encoder those before its head. Sums along
the residual, norms, softmax and pooling stay float32. That costs no time, and the neighbours of a text stay nearer to
those of float32 than with a model that is cast as a whole. The weights of its products are cast once, when it is
loaded.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from pairmine.errors import PairmineError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def has_bfloat16() -> bool:
    """True where this CPU multiplies bfloat16 itself: AVX512_BF16 or AMX on x86, BF16 on ARM under Linux.

    Elsewhere torch computes with bfloat16 too, by way of float32, which is slower than float32 alone.
    """
    import torch

    if sys.platform == "darwin" or not torch.backends.mkldnn.is_available():
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & _capabilities())


def _capabilities() -> set[str]:
    """What the CPU can do, in the words of torch, or of Linux where torch is too old to tell."""
    import torch

    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return {name for name, value in tell().items() if value is True}
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return set()
    return set(flags.partition(":")[2].split())


def choose_dtype(wanted: str, kind: str, flag: str = "--dtype") -> str:
    """The type for `wanted` on a device of this kind; "auto" is the fastest that was found to be near enough.

    Raises PairmineError for a name that is none, and for a type that the device cannot compute in.
    """
    import torch

    if wanted not in DTYPES:
        raise PairmineError(f"{flag} {wanted}: choose {', '.join(DTYPES)}")
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        if wanted == "bfloat16" and not native:
            raise PairmineError(f"{flag} bfloat16: this GPU does not compute in it; give float16 or float32")
        return ("bfloat16" if native else "float16") if wanted == "auto" else wanted
    if kind == "cpu":
        if wanted == "float16" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
            raise PairmineError(f"{flag} float16: this CPU does not compute in it; give bfloat16 or float32")
        return ("bfloat16" if has_bfloat16() else "float32") if wanted == "auto" else wanted
    return "float32" if wanted == "auto" else wanted


def lower(model: Any, dtype: str) -> None:
    """Cast a torch model, in place, for `products(dtype)`: linear layers to `dtype`, all else to float32.

    A weight that a linear layer shares with an embedding stays float32.
    """
    import torch

    target = getattr(torch, dtype)
    shared = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for module in model.modules():
        is_product = isinstance(module, torch.nn.Linear) and id(module.weight) not in shared
        for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if value.is_floating_point():
                value.data = value.data.to(target if is_product else torch.float32)


def keep_head(model: Any) -> None:
    """Have a lowered model's head for scores, and its pooler, computed in float32 within `products` too, in place.

    They see one row for each pair, which costs nothing, and a bfloat16 logit has 8 bits: pairs would be level.
    """
    import torch

    base = set(model.base_model.modules())
    for name, module in model.named_modules():
        if type(module) is torch.nn.Linear and (module not in base or "pooler" in name.split(".")):
            module.float()
            module.__class__ = _exact_linear()


@cache
def _exact_linear() -> Any:
    import torch

    class ExactLinear(torch.nn.Linear):
        """A linear layer in float32, whatever is asked around it."""

        def forward(self, input: Any) -> Any:
            with torch.autocast(input.device.type, enabled=False):
                return super().forward(input.float())

    return ExactLinear


def products(dtype: str, kind: str) -> AbstractContextManager[Any]:
    """Within it, matrix products on devices of this kind are made in `dtype`; for the calling thread alone."""
    import torch

    if dtype == "float32":
        return nullcontext()
    return torch.autocast(kind, getattr(torch, dtype), cache_enabled=False)
