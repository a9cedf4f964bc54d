"""``python -m otel_perf`` is ``otel-perf``."""

import sys

from .cli import main

sys.exit(main())
