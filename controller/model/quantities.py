"""Quantities as Kubernetes writes them: ``512Mi``, ``500m``."""

from decimal import Decimal

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def cpu_cores(cpu: str) -> Decimal:
    """``500m`` or ``0.5`` in processors."""
    return Decimal(cpu[:-1]) / 1000 if cpu.endswith("m") else Decimal(cpu)


def memory_bytes(memory: str) -> int:
    """``512Mi`` in bytes."""
    digits = memory.rstrip("kKMGTi")
    return int(digits) * _UNITS[memory[len(digits) :]]


def memory_text(size: int) -> str:
    """Bytes as a person writes them."""
    for unit in ("Ti", "Gi", "Mi", "Ki", "T", "G", "M", "k"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
