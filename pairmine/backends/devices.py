"""Devices: what `--device` names, checked before a model is loaded."""

from __future__ import annotations

from typing import Any

from pairmine.errors import PairmineError


def find_devices(given: str | None) -> list[str]:
    """The devices that `given` names: one, several parted by commas, or all as `cuda:*`; by itself the best there is.

    Raises PairmineError for a device that is none, is not here or stands there twice (but the CPU may), and for
    different kinds together, which would compute in different types.
    """
    import torch

    if given is None:
        if torch.cuda.is_available():
            return ["cuda"]
        return ["mps"] if torch.backends.mps.is_available() else ["cpu"]
    names = [name for part in given.split(",") for name in _expanded(part.strip(), given)]
    kinds = {_device(name, given).type for name in names}
    if len(kinds) > 1:
        raise PairmineError(
            f"--device {given}: several devices must be of one kind, here are {', '.join(sorted(kinds))}"
        )
    for name in names:
        check_device(name, given)
    repeated = {name for name in names if names.count(name) > 1 and name != "cpu"}
    if repeated:
        raise PairmineError(f"--device {given}: {min(repeated)} stands there twice")
    return names


def check_device(name: str, given: str | None = None) -> str:
    """The kind of the device, as "cuda"; a PairmineError where there is no such device."""
    import torch

    shown = given or name
    device = _device(name, shown)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise PairmineError(f"--device {shown}: torch finds no CUDA device here; leave the option out")
        if (device.index or 0) >= count:
            raise PairmineError(f"--device {shown}: there is no {name}, the last one is cuda:{count - 1}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise PairmineError(f"--device {shown}: torch finds no such device here; leave the option out")
    if device.type not in ("cpu", "cuda", "mps"):
        try:
            torch.zeros(1, device=device).tolist()
        except Exception:  # each kind raises its own; "meta" has no numbers at all
            raise PairmineError(f"--device {shown}: torch finds no such device here; leave the option out") from None
    return str(device.type)


def _device(name: str, shown: str) -> Any:
    import torch

    try:
        return torch.device(name)
    except RuntimeError:
        raise PairmineError(f"--device {shown}: no such device; for example cpu, cuda, cuda:1 or mps") from None


def _expanded(name: str, given: str) -> list[str]:
    import torch

    if not name:
        raise PairmineError(f"--device {given}: a name is missing; for example cuda:0,cuda:1")
    if name != "cuda:*":
        return [name]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise PairmineError(f"--device {given}: torch finds no CUDA device here; leave the option out")
    return [f"cuda:{number}" for number in range(count)]
