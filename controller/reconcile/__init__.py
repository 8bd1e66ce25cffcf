"""The circle: watch, view, queue, observe, decide, apply."""
