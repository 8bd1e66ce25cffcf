"""A private Postgres: for the tests, for make demo and for CI."""
