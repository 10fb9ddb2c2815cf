"""Judge what comes from outside: bounded, strict readers, and the two ways to fail."""
