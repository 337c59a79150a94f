"""How much of the slab may be used for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Budget:
    """Bytes. Whoever watches the machine's memory changes it while it is used (ObjectReader.allot)."""

    slab: int  # pages of all kinds
    ahead: int  # of them those that were fetched ahead and not read yet; the rest is for demand
    look_ahead: int  # of these whole files that were fetched before they are opened

    @classmethod
    def of(cls, slab: int) -> Budget:
        """That of a slab when memory is not short."""
        return cls(slab, slab * 3 // 4, slab // 2)
