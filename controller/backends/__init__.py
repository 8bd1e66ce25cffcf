"""Where instances run: one module or package per backend, found by the name that a pool's spec gives it.

Each has two functions that answer a ``controller.ports.Provider``, which connects to the places of its pools: a
``FixedPlace`` where the backend finds its one place by itself.

- ``async open_backend(options: BackendOptions)``: for the operator. ``Misconfigured`` when it cannot work; ``Unusable``
  when that matters only to who wants this backend.
- ``async open_logs(options: BackendOptions)``: for ``logs`` only, beside the operator that runs: it changes nothing.
"""

KNOWN = ("process", "docker", "railway")
"""Modules of this package that hold a backend."""
