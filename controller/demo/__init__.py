"""The demonstration: the whole system on this machine, from nothing to a bound claim and back to nothing."""
