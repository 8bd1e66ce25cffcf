"""Properties run without a deadline: how long an example takes says something of the machine, not of the code."""

import os

from hypothesis import settings

settings.register_profile("core", deadline=None, max_examples=200)
settings.register_profile("core-thorough", deadline=None, max_examples=5000)
settings.load_profile("core-thorough" if os.environ.get("THOROUGH") else "core")
