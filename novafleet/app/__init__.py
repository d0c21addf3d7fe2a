"""One async use-case per verb. ``wiring.py`` is the only place that builds adapters."""
