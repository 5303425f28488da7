"""The most recently used values of something expensive to load, each loaded once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class CacheState:
    """What a cache holds and has done since it was made."""

    size: int
    """In the cache's own unit, such as bytes."""
    n_values: int
    n_asked: int
    n_loaded: int


class _Slot(Generic[V]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loaded: list[V] = []
        self.size = 0


class LruCache(Generic[K, V]):
    """Keeps values of `capacity` in total. Threads that want the same one wait for a single load.

    Args:
        capacity: Of all values together. The one that was asked for last stays even if it is larger alone.
        size_of: A value's share of it; by default each counts as one.
    """

    def __init__(self, capacity: int, size_of: Callable[[V], int] = lambda _: 1) -> None:
        self._capacity = capacity
        self._size_of = size_of
        self._lock = threading.Lock()
        self._slots: OrderedDict[K, _Slot[V]] = OrderedDict()
        self._n_asked = self._n_loaded = 0

    def get(self, key: K, load: Callable[[], V]) -> V:
        """The value of `key`, from `load()` where it is not here yet. A load that fails leaves no trace."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            self._n_asked += 1
        with slot.lock:
            if not slot.loaded:
                try:
                    slot.loaded.append(load())
                finally:
                    if slot.loaded:
                        self._keep(slot)
                    else:
                        self._forget(key, slot)
            return slot.loaded[0]

    @property
    def state(self) -> CacheState:
        """What is here now."""
        with self._lock:
            kept = [slot for slot in self._slots.values() if slot.loaded]
            return CacheState(sum(slot.size for slot in kept), len(kept), self._n_asked, self._n_loaded)

    def keys(self) -> list[K]:
        """What is here, the most recently used last."""
        with self._lock:
            return list(self._slots)

    def _keep(self, slot: _Slot[V]) -> None:
        slot.size = self._size_of(slot.loaded[0])
        with self._lock:
            self._n_loaded += 1
            total = sum(other.size for other in self._slots.values())
            for key, other in list(self._slots.items()):
                if total <= self._capacity:
                    return
                # What is just being loaded has no size yet, and is wanted.
                if other is not slot and other.size:
                    del self._slots[key]
                    total -= other.size

    def _forget(self, key: K, slot: _Slot[V]) -> None:
        with self._lock:
            if self._slots.get(key) is slot:
                del self._slots[key]
