"""What the dashboards ask: the selectors, conditions and forms of PromQL, TraceQL and LogQL that their panels share.

Imports no Grafana library, so that it can be read and tested alone. Reading order: chosen(), series(), alive(), then
the forms built of them.

Variables stand between backticks, where nothing is unescaped, in Grafana's ``regex`` format, which escapes what a
regular expression would read: a service may be called ``shop "{a|b}"``. The Prometheus data source's own format leaves
the double quote as it is. What this cannot hold is a name with a backtick in it.
Source: variable-syntax.md of Grafana's documentation, escaping.ts of its Prometheus data source.
"""

from __future__ import annotations

from otel_perf.backends.names import label, series_of
from otel_perf.metrics import names

SERVICE, VERSION, INSTANCE = label("service.name"), label("service.version"), label("service.instance.id")
NAMESPACE = label("service.namespace")
GONE_AFTER = 30  # seconds without a sample after which a process is not alive; the follower sends every 2 s
OF_INSTANCE = "service.instance.id"  # as Tempo has it, and a label since Prometheus 3
TRACE, SHORT_ID = "traceId", "traceIdOfSearch"  # variables: the id as it is given, and without leading zeros
UPTIME = names.UPTIME[0]  # every process sends it every second: whoever has it is there


def picked(name: str, variable: str) -> str:
    """Return the matcher of the label *name* by a dashboard's variable."""
    return f"{name}=~`${{{variable}:regex}}`"


def of_services() -> str:
    """Return the matchers of the services that the dashboard's variables choose, also of those without a namespace."""
    return f"{picked(NAMESPACE, 'namespace')},{picked(SERVICE, 'service')}"


def chosen(*more: str, version: str = "version", instance: str = "instance") -> str:
    """Return the matchers in braces of what the dashboard's variables choose, and *more*."""
    of_variables = (of_services(), picked(VERSION, version), picked(INSTANCE, instance))
    return "{" + ",".join((*of_variables, *more)) + "}"


def series(instrument: str, *more: str, version: str = "version") -> str:
    """Return the chosen series of an instrument."""
    return series_of(instrument) + chosen(*more, version=version)


def alive() -> str:
    """Return a vector with one element a process that has sent a sample lately, also at each step of a range."""
    return f"(time() - timestamp({series(UPTIME)})) < {GONE_AFTER}"


def of_living(expression: str) -> str:
    """Return *expression* without the processes that are gone: Prometheus would repeat their last value for 5 min."""
    return f"({expression}) and on ({INSTANCE}) ({alive()})"


def held(instrument: str, *more: str, by: str = "max") -> str:
    """Return a gauge at each step: its largest value since the step before, else its last.

    The first keeps a peak of one second at any zoom; the second is for what is written only when it changes, without
    its name as the first: else the two would be two series.
    """
    one = series(instrument, *more)
    return f"{by}_over_time({one}[$__interval]) or {one} + 0"


def gained(instrument: str, *more: str, version: str = "version") -> str:
    """Return by how much the counters of an instrument have grown in the range shown, of each process.

    ``increase()`` extrapolates, and counts 0 for what was there once, such as each phase of a start. Processes do not
    reset a counter: each has its own instance id.
    """
    one = series(instrument, *more, version=version)
    last = f"last_over_time({one}[$__range])"
    return f"({last} - ({one} offset $__range or 0 * {last}))"


def shifted(expression: str, variable: str) -> str:
    """Return *expression* as it was at a time before, by a duration in a dashboard's variable."""
    return f"last_over_time(({expression})[1s:1s] offset ${{{variable}}})"


def rate(instrument: str, *more: str) -> str:
    """Return the growth a second of an instrument's counters, at each step.

    ``rate()`` sees nothing of a counter that has not changed for a while: unchanged, it is written once a minute only.
    """
    return f"{lately(instrument, *more)} / ($__rate_interval_ms / 1000)"


def rate_of_machine(instrument: str) -> str:
    """Return the same of counters of the machine, which count since it was started: a process does not begin with 0."""
    one = series(instrument)
    return f"({one} - {one} offset $__rate_interval) / ($__rate_interval_ms / 1000)"


def lately(instrument: str, *more: str) -> str:
    """Return by how much an instrument's counters, or histograms, have grown, at each step."""
    one = series(instrument, *more)
    return f"({one} - ({one} offset $__rate_interval or 0 * {one}))"


def short(expression: str) -> str:
    """Return *expression* with a label ``process``: the first eight characters of the instance id, for legends."""
    return f'label_replace({expression}, "process", "$1", "{INSTANCE}", "(.{{0,8}}).*")'


PROCESS = f"{{{{{SERVICE}}}}} {{{{{VERSION}}}}} {{{{process}}}}"  # the legend of one process
BY_SERVICE = f"{NAMESPACE}, {SERVICE}"  # two services of one name differ in their namespace
BY_VERSION = f"{BY_SERVICE}, {VERSION}"
OF_SERVICE, OF_VERSION = (  # legends; the namespace last, as few have one
    " ".join(f"{{{{{name}}}}}" for name in names) for names in ((SERVICE, NAMESPACE), (SERVICE, VERSION, NAMESPACE))
)
COLUMNS = {NAMESPACE: ("Namespace", ""), SERVICE: ("Service", ""), VERSION: ("Version", "")}  # of BY_VERSION


def events(pattern: str) -> str:
    """Return the LogQL of the chosen processes' events whose name matches *pattern*.

    What is no index label in every Loki stands behind the bar, and what was not given matches ``.*`` there too.
    """
    variables = ((NAMESPACE, "namespace"), (VERSION, "version"), (INSTANCE, "instance"))
    of_process = " ".join(f"| {picked(name, variable)}" for name, variable in variables)
    return f'{{{picked(SERVICE, "service")}}} | event_name=~"{pattern}" {of_process}'


def firing() -> str:
    """Return the alerts of Prometheus's rules that fire, those without a service too: they are of all."""
    matchers = (
        f"{name}=~`${{{variable}:regex}}|`" for name, variable in ((NAMESPACE, "namespace"), (SERVICE, "service"))
    )
    return f'ALERTS{{alertstate="firing",{",".join(matchers)}}}'


def starts() -> str:
    """Return the TraceQL of starts in the range shown, of all services: the first that Tempo finds, up to the limit.

    Only what was seen to work on Tempo 2.9: one comparison, and select(). Those of the chosen processes are picked out
    by their ids, which chosen_processes() gives.
    """
    attributes = ("bottleneck", "bottleneck.reason", "bottleneck.share")
    of_resource = (f"resource.{name}" for name in ("service.version", OF_INSTANCE))
    selected = ", ".join((*of_resource, *(f"span.otel_perf.{name}" for name in attributes)))
    return f'{{ span.otel_perf.kind = "startup" }} | select({selected})'


def chosen_processes() -> str:
    """Return the PromQL of the ids of the chosen processes, in a label that is called as Tempo calls them.

    There is always a row, of a process that is none: an answer without rows would be left out of a join, and all starts
    would be shown.
    """
    ids = f"group by ({INSTANCE}) (last_over_time({series(UPTIME)}[$__range]))"
    named = f'label_replace({ids}, "{OF_INSTANCE}", "$1", "{INSTANCE}", "(.*)")'
    return f'{named} or label_replace(vector(0), "{OF_INSTANCE}", "none", "", "")'


def spans_of_trace() -> str:
    """Return the TraceQL of the spans of the trace that is chosen, for a flame graph."""
    selected = "name, span.otel_perf.depth, span.otel_perf.order, span.otel_perf.self_ns"
    return f'{{ trace:id = "${{{SHORT_ID}}}" }} | select({selected})'


def logs_of_trace() -> str:
    """Return the LogQL of what the chosen services have logged with the trace that is chosen, none if none is."""
    return f'{{{picked(SERVICE, "service")}}} | trace_id=~".+" | trace_id=~"0*${{{SHORT_ID}}}"'


def short_id() -> str:
    """Return the query of the variable SHORT_ID, with the regular expression that reads its answer.

    TraceQL compares an id without its leading zeros, links from logs and exemplars have them, and no format of a
    variable takes them away: Prometheus does.
    """
    written = f'label_replace(vector(0), "written", `${{{TRACE}:regex}}`, "", "")'
    return f'query_result(label_replace({written}, "trace", "$1", "written", "0*(.*)"))'


SHORT_ID_ANSWER = r'/trace="([^"]+)"/'
