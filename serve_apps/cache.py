"""The most recently used values of something expensive to load, each loaded once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Slot(Generic[V]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loaded: list[V] = []


class LruCache(Generic[K, V]):
    """Keeps `capacity` values. Threads that want the same one wait for a single load; others do not wait."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._slots: OrderedDict[K, _Slot[V]] = OrderedDict()

    def get(self, key: K, load: Callable[[], V]) -> V:
        """The value of `key`, from `load()` where it is not here yet. A load that fails leaves no trace."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > self._capacity:
                self._slots.popitem(last=False)
        with slot.lock:
            if not slot.loaded:
                try:
                    slot.loaded.append(load())
                finally:
                    if not slot.loaded:
                        self._forget(key, slot)
            return slot.loaded[0]

    def keys(self) -> list[K]:
        """What is here, the most recently used last."""
        with self._lock:
            return list(self._slots)

    def _forget(self, key: K, slot: _Slot[V]) -> None:
        with self._lock:
            if self._slots.get(key) is slot:
                del self._slots[key]
