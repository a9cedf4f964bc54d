"""Budgets as rules of Prometheus, and promtool tests that prove them: `otel-perf rules`.

``of_budgets.py`` is one budget, ``of_services.py`` whole services; ``proofs.py`` has the tests of both, ``parts.py``
what all of them are written with, ``files.py`` what is written where.
"""
