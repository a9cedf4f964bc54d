"""UI: a dashboard drawn without a window, into text and into SVG.

Reading order: layout.py (boxes), surfaces.py (what is drawn on), dashboard.py (what is drawn).
"""
