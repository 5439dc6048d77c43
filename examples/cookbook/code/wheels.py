"""Sums about bicycle wheels and gears, for the cookbook's section on code."""

import math


def circumference_mm(rim_mm: float, tyre_mm: float) -> float:
    """How far a wheel rolls in one turn, from the diameters of rim and tyre."""
    return math.pi * (rim_mm + 2 * tyre_mm)


def gear_ratio(chainring: int, sprocket: int) -> float:
    """Turns of the rear wheel for one turn of the cranks."""
    return chainring / sprocket


def development_m(chainring: int, sprocket: int, wheel_mm: float) -> float:
    """Metres that the bicycle moves with one turn of the cranks."""
    return gear_ratio(chainring, sprocket) * wheel_mm / 1000


def speed_kmh(cadence: float, development: float) -> float:
    """The speed of a rider who turns the cranks so often in a minute."""
    return cadence * development * 60 / 1000


def range_km(watt_hours: float, use_per_km: float) -> float:
    """How far a battery lasts before it is empty."""
    if use_per_km <= 0:
        raise ValueError("give the watt hours that one kilometre takes")
    return watt_hours / use_per_km


def needs_new_chain(length_mm: float, links: int) -> bool:
    """Whether a chain is worn by more than half a percent of its length."""
    return length_mm > links * 12.7 * 1.005
