"""Pure decisions: what is observed and the time go in, a plan comes out. No I/O, clock, randomness or logging."""
