"""The parameters of chapters and commands: what each may be, checked before a kernel or a training starts."""

import re
from collections.abc import Callable, Mapping
from typing import Any

PROFILES = ("quick", "laptop", "paper")
_LARGEST = 784  # as many as MNIST has pixels


def checked(**given: object) -> dict[str, Any]:
    """The parameters as the code uses them: counts as integers, lists as tuples.

    Raises:
        KeyError: a name that is none of a parameter.
        ValueError: values of a wrong type, out of range or unknown; all are named, with what is allowed.
    """
    found, faults = {}, []
    for name, value in given.items():
        if name not in _RULES:
            raise KeyError(f"there is no parameter {name!r}; there are {', '.join(_RULES)}")
        try:
            found[name] = _RULES[name](value)
        except (ValueError, TypeError) as error:
            faults.append(f"{name} {error}, got {value!r}")
    if faults:
        raise ValueError("; ".join(faults))
    return found


def _profile(value: object) -> str:
    if value not in PROFILES:
        raise ValueError(f"must be one of {', '.join(PROFILES)}")
    return str(value)


def _device(value: object) -> str:
    if not (isinstance(value, str) and re.fullmatch(r"cpu|cuda(:\d+)?", value)):
        raise ValueError("must be cpu, cuda or cuda:NUMBER")
    if value != "cpu":
        import torch

        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(value.partition(":")[2] or 0) >= there:
            raise ValueError(f"must be a device of this machine: cpu, and {there or 'no'} GPU that torch can use")
    return value


def _whole(value: object, least: int, most: int, meaning: str = "") -> int:
    if type(value) is str and value.strip().isdecimal():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"must be a whole number from {least} to {most}{meaning}")
    return value


def _seeds(value: object) -> int:
    return _whole(value, 0, 1000, ", 0 for as many as the profile has")


def _latents(value: object) -> tuple[int, ...]:
    """`"20, 100"`, `[20, 100]` or `20`; none for the profile's own."""
    each = value if isinstance(value, (list, tuple)) else [part for part in str(value).split(",") if part.strip()]
    try:
        return tuple(_whole(one, 1, _LARGEST) for one in each)
    except ValueError:
        raise ValueError(f"must be whole numbers from 1 to {_LARGEST}, such as '20, 100', or empty") from None


_RULES: Mapping[str, Callable[[object], Any]] = {
    "profile": _profile,
    "device": _device,
    "seeds": _seeds,
    "latents": _latents,
    "latent": lambda value: _whole(value, 1, _LARGEST),
}
