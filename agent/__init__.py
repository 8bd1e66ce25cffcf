"""The program inside an instance."""

__version__ = "0.1.0"
