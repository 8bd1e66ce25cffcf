"""Only development has rich: pip-audit brings it, and structlog takes it where it finds it, for a tenth of a start."""

raise ImportError("it is not delivered")
