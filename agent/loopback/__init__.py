"""The loopback conversation service: the convos contract with no network behind it."""
