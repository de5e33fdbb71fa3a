"""Which kernel runs an op, and with which arguments: the `lower` rules, one file a family, named as in `ops/`."""
