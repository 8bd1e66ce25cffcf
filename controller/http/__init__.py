"""What the operator itself serves over HTTP."""
