"""A desktop program without a window: devices, transport, dashboard and plugins, recorded by otel-perf."""

__version__ = "1.0.0"
