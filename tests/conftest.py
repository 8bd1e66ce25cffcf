"""What every folder of tests may use."""

pytest_plugins = ["tests.docker.plugin", "tests.postgres.plugin"]
