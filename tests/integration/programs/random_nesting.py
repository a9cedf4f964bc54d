"""Random programs: phases, calls, raw spans, attached contexts, copies that run late, threads; test_context.py checks them.

Arguments: the first seed, how many programs, and ``sdk`` for a provider of its own. A plain ContextVar beside ours says
what the parent and the baggage must be, because it is copied and reset with everything else. Prints as JSON the
parent of each span by name, where the baggage was another, and how many spans are still open at the end.
"""

import contextvars
import json
import random
import sys
import threading

import otel_perf as perf

perf.init("random")
perf.ready()

from opentelemetry import baggage, context, trace
from opentelemetry.context import Context

from otel_perf import recorder

if sys.argv[3:] == ["sdk"]:
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
tracer = trace.get_tracer("app")
expected, wrong_baggage = {}, []
OPERATIONS = (
    "phase", "call", "fast", "fast", "raw", "leaf", "baggage", "attach", "empty", "copy", "copy", "thread", "ask", "read",
)  # fmt: skip


class Node:
    """What must come of one block: a span once anything inside needs its id."""

    def __init__(self, name, parent):
        self.name, self.parent, self.has_id, self.open = name, parent, False, True


def identify(node):
    """Return the node that work inside *node* is a child of."""
    if node is None or node.has_id:
        return node
    if not node.open:
        return identify(node.parent)
    parent = identify(node.parent)
    node.has_id = True
    expected[node.name] = parent and parent.name
    return node


MODEL = contextvars.ContextVar("model", default=(None, None))  # node and baggage


def blocks(name):
    return {
        "phase": lambda: perf.phase(name),
        "call": lambda: perf.profile(name, span_threshold=0),
        "fast": lambda: perf.profile(name, span_threshold="100s"),
        "raw": lambda: tracer.start_as_current_span(name),
    }


class Program:
    def __init__(self, seed):
        self.random, self.late, self.seed, self.serial = random.Random(seed), [], seed, 0

    def run(self, depth):
        for _ in range(self.random.randint(1, 3)):
            self.step(depth)

    def late_one(self):
        self.late.pop(self.random.randrange(len(self.late)))()

    def step(self, depth):
        self.serial += 1
        name = f"{self.seed}.{self.serial}"
        if self.late and self.random.random() < 0.15:
            self.late_one()
        node, held = MODEL.get()
        if baggage.get_baggage("key") != held:
            wrong_baggage.append([name, held, baggage.get_baggage("key")])
        operation = self.random.choice(OPERATIONS) if depth else "leaf"

        def inside(node, held):
            token = MODEL.set((node, held))
            self.run(depth - 1)
            MODEL.reset(token)

        def inside_attached(ctx, node, held):
            token = context.attach(ctx)
            inside(node, held)
            context.detach(token)

        if operation in ("phase", "call", "raw", "fast"):
            mine = Node(name, node)
            with blocks(name)[operation]():
                if operation in ("phase", "raw"):
                    identify(mine)
                inside(mine, held)
                if operation == "call":
                    identify(mine)
            mine.open = False
        elif operation == "leaf":
            parent = identify(node)
            expected[name] = parent and parent.name
            tracer.start_span(name).end()
        elif operation == "ask":
            identify(node)
            trace.get_current_span().get_span_context()
            inside(node, held)
        elif operation == "read":
            context.get_current()
            inside(node, held)
        elif operation == "baggage":
            inside_attached(baggage.set_baggage("key", name), node, name)
        elif operation == "attach":
            inside_attached(context.get_current(), node, held)
        elif operation == "empty":
            inside_attached(Context(), None, None)
        elif operation == "copy":
            copy = contextvars.copy_context()
            self.late.append(lambda: copy.run(self.run, depth - 1))
        else:
            thread = threading.Thread(target=inside_attached, args=(context.get_current(), node, held))
            thread.start()
            thread.join()


first, count = map(int, sys.argv[1:3])
for seed in range(first, first + count):
    program = Program(seed)
    contextvars.copy_context().run(program.run, 4)
    while program.late:
        program.late_one()
perf.shutdown()
print(json.dumps([expected, wrong_baggage, len(recorder.open_spans)]))
