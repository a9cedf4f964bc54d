"""Runs in the terminal: `otel-perf top` and `otel-perf flame`."""
