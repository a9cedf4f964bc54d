"""The dashboard Process: CPU, memory, threads, garbage collection, files, disk and network of each process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_perf.amounts import amount
from otel_perf.budgets import CPU, MEMORY

from . import language, shell
from .language import BY_SERVICE, BY_VERSION, OF_SERVICE, PROCESS, held, of_living, rate, rate_of_machine, series, short
from .panels import BYTES, CORES, SECONDS, SHARE, Asked, chart, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

    from otel_perf.budgets import Budget

UID = "otel-perf-process"
HOUR = 3600  # seconds of which the projection is
BYTES_PER_SECOND = "Bps"
GONE = "No process was alive in this range"
MACHINE = "The machine's network: sent with OTEL_PERF_SYSTEM_METRICS=all"
NETWORK = (
    "Not sent by default, as every process of a machine would send the same: set OTEL_PERF_SYSTEM_METRICS=all in one"
)


def process(budgets: Sequence[Budget]) -> dict[str, Any]:
    """Return the dashboard."""
    cpu, memory = ([one for one in budgets if one.instrument == name and not one.form] for name in (CPU, MEMORY))
    rows = {
        "": [*_cpu(cpu), *_memory(memory), _trend(memory)],
        "Inside": _inside(),
        "Files and disk": _files(),
        "Machine": _machine(),
        MACHINE: _network(),
        "What otel-perf costs": _cost(),
    }
    return shell.dashboard(
        UID,
        "otel-perf: Process",
        "CPU, memory, threads, garbage collection, files, disk and network of each process.",
        rows,
        collapsed=[MACHINE],
    )


def _each(title: str, description: str, expression: str, legend: str = PROCESS, **more: Any) -> Builder[Panel]:
    return chart(title, description, Asked(expression, legend), **{"nothing": GONE, **more})


def _said(limits: Sequence[Budget], unit: str) -> str:
    """Return a sentence for the lines of *limits*, which may be none."""
    of = [f"{amount(one.max, unit)}{' while idle' if one.idle else ''}" for one in limits]
    return f" The dashed line is the budget: {', '.join(of)}." if of else ""


def _cpu(limits: Sequence[Budget]) -> list[Builder[Panel]]:
    usage = short(of_living(held(CPU)))
    share = f"sum by (cpu_mode) ({of_living(series('process.cpu.utilization'))})"
    return [
        _each(
            "CPU of each process, in cores",
            "1 is one core at work all the time, however many there are; the peak since the point before."
            + _said(limits, "{cpu}"),
            usage,
            unit=CORES,
            limits=limits,
        ),
        _each(
            "CPU of all processes, by mode",
            "A share of the CPUs that a process may use (affinity, container), added up over the chosen processes.",
            share,
            "{{cpu_mode}}",
            unit=SHARE,
            stacked=True,
        ),
    ]


def _memory(limits: Sequence[Budget]) -> list[Builder[Panel]]:
    projected = f"predict_linear({series(MEMORY)}[$__range], {HOUR})"
    return [
        _each(
            "Memory of each process",
            "Resident memory, the peak since the point before." + _said(limits, "By"),
            short(of_living(held(MEMORY))),
            unit=BYTES,
            limits=limits,
        ),
        _each(
            "Memory in an hour",
            "Where resident memory would be an hour later, on a straight line through as much time as is shown here. "
            "A young process still fills its memory, so its line says little." + _said(limits, "By"),
            short(of_living(f"clamp_min({projected}, 0)")),
            unit=BYTES,
            limits=limits,
        ),
        _each(
            "Unique memory",
            "What would be free if the process ended; it is read seldom where that is dear.",
            short(of_living(series("otel_perf.process.memory.unique"))),
            unit=BYTES,
        ),
        _each(
            "Virtual memory",
            "The address space that each process has asked for.",
            short(of_living(series("process.memory.virtual"))),
            unit=BYTES,
        ),
    ]


def _trend(limits: Sequence[Budget]) -> Builder[Panel]:
    now, slope = of_living(series(MEMORY)), f"deriv({series(MEMORY)}[$__range])"
    by = f"{BY_VERSION}, {language.INSTANCE}"
    expressions = [
        f"max by ({by}) ({now})",
        f"max by ({by}) ({of_living(f'{slope} * {HOUR}')})",
        f"max by ({by}) ({of_living(f'predict_linear({series(MEMORY)}[$__range], {HOUR})')})",
    ]
    columns = {
        **language.COLUMNS,
        language.INSTANCE: ("Process", ""),
        "Value #A": ("Memory", BYTES),
        "Value #B": ("Growth in 1 h", BYTES),
        "Value #C": ("Memory in 1 h", BYTES),
    }
    for letter, one in zip("DEFGH", limits, strict=False):
        left = f"({one.max:.0f} - {series(MEMORY)}) / ({slope} > 0)"
        expressions.append(f"max by ({by}) ({of_living(f'({left}) >= 0')})")
        columns[f"Value #{letter}"] = (f"Until {amount(one.max, 'By')}", SECONDS)
    return table(
        "Trend of memory",
        "A straight line through the range shown, in the processes that are alive. How long until the budget is "
        "empty where memory does not grow, or is over it already.",
        expressions,
        columns=columns,
        nothing="No process is alive",
    )


def _inside() -> list[Builder[Panel]]:
    return [
        _each(
            "Threads",
            "Threads of each process, of any language.",
            short(of_living(held("process.thread.count"))),
            unit="short",
        ),
        _each(
            "Garbage collections per second",
            "Of Python's collector, by generation.",
            f"sum by (cpython_gc_generation) ({of_living(rate('cpython.gc.collections'))})",
            "generation {{cpython_gc_generation}}",
            unit="cps",
        ),
        _each(
            "Time stopped by the garbage collector",
            "The share of time in which Python's collector stopped the program.",
            short(of_living(rate("otel_perf.gc.time"))),
            unit=SHARE,
        ),
        _each(
            "Longest garbage collection pause",
            "The longest since the reading before.",
            short(of_living(held("otel_perf.gc.longest_pause"))),
            unit=SECONDS,
        ),
        _each(
            "Context switches per second",
            "Voluntary: it waited. Involuntary: others wanted the CPU.",
            f"sum by (process_context_switch_type) ({of_living(rate('process.context_switches'))})",
            "{{process_context_switch_type}}",
            unit="cps",
        ),
        _each(
            "Page faults per second",
            "Major: memory that had to come from disk.",
            f"sum by (system_paging_fault_type) ({of_living(rate('process.paging.faults'))})",
            "{{system_paging_fault_type}}",
            unit="cps",
        ),
    ]


def _files() -> list[Builder[Panel]]:
    handles, files = "process.windows.handle.count", "process.unix.file_descriptor.count"
    return [
        _each(
            "Open files",
            "File descriptors of each process; handles on Windows.",
            short(of_living(f"({held(files)}) or {held(handles)}")),
            unit="short",
        ),
        _each(
            "Disk, bytes per second",
            "What the processes themselves read from and wrote to disks.",
            f"sum by (disk_io_direction) ({of_living(rate('process.disk.io'))})",
            "{{disk_io_direction}}",
            unit=BYTES_PER_SECOND,
        ),
    ]


def _machine() -> list[Builder[Panel]]:
    return [
        _each(
            "CPU of the machine",
            "A share of all its CPUs, as the processes saw it; a line for each service.",
            f"max by ({BY_SERVICE}) ({of_living(series('otel_perf.system.cpu.utilization'))})",
            OF_SERVICE,
            unit=SHARE,
            largest=1,
            width=8,
        ),
        _each(
            "Load of the machine",
            "Threads that run or want to, mean of the last minute.",
            f"max by ({BY_SERVICE}) ({of_living(series('system.cpu.load_average.1m'))})",
            OF_SERVICE,
            unit="short",
            width=8,
        ),
        _each(
            "Memory of the machine",
            "A share of all its memory, by use.",
            f"max by (state) ({of_living(series('system.memory.utilization'))})",
            "{{state}}",
            unit=SHARE,
            width=8,
        ),
    ]


def _network() -> list[Builder[Panel]]:
    return [
        _each(
            "Network, bytes per second",
            "Of the machine, by interface and direction.",
            f"max by (device, direction) ({rate_of_machine('system.network.io')})",
            "{{device}} {{direction}}",
            unit=BYTES_PER_SECOND,
            nothing=NETWORK,
        ),
        _each(
            "Network, errors and drops per second",
            "Of the machine, by interface and direction.",
            f"max by (device, direction) (({rate_of_machine('system.network.errors')}) + "
            f"{rate_of_machine('system.network.dropped_packets')})",
            "{{device}} {{direction}}",
            unit="cps",
            nothing=NETWORK,
        ),
    ]


def _cost() -> list[Builder[Panel]]:
    return [
        _each(
            "CPU of otel-perf",
            "What measuring costs each process, in cores: the mean since it began.",
            short(of_living(f"{series('otel_perf.self.cpu_time')} / {series(language.UPTIME)}")),
            unit=CORES,
            width=8,
        ),
        _each(
            "Memory of otel-perf",
            "What measuring takes of each process's memory.",
            short(of_living(series("otel_perf.self.memory"))),
            unit=BYTES,
            width=8,
        ),
        _each(
            "Dropped records",
            "Records that were lost, since the process began: 0 is right.",
            short(of_living(series("otel_perf.self.dropped"))),
            unit="short",
            width=8,
        ),
    ]
