"""What is configured, what is reachable, what is wrong, and why something is missing: what `otel-perf doctor` finds.

Reading order: found.py (what there is to say, and what never is), settings.py, installed.py, runs.py, network.py,
advice.py; then everything.py, which asks them all at once within a few seconds, and text.py.
"""
