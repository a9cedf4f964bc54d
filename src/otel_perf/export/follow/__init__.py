"""Files → official exporters: what is new in the run folder goes to an OTLP endpoint, each record once.

    sender.py ─▶ follower.py ─┬▶ stream.py ─┬▶ starts.py, shape.py       one file: its position, its lines; what of them
    (a thread)   (one step)   │             │  is sent, and how: selection.py, folding.py, temporality.py
                              │             └▶ wire.py, wire_points.py, convert.py     its records
                              └▶ exporters.py, as_json.py           one request and what became of it: outcome.py

files.py keeps how far each file came, pace.py keeps the thread from standing in the application's way. Nothing heavy is
loaded before there is something to send: importing its rooms loads none of OpenTelemetry.
"""
