"""Side-by-side benchmarks: what otel-perf costs, and what its peers cost in the same run on the same machine.

``python -m bench`` runs them all. One file a group: start, calls, imports, run, writer, survival, context,
instruments. measure.py has what they share (real processes, interleaved rounds, bursts), table.py the rows and how
they are shown.
"""
