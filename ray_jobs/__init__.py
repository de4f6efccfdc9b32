"""Jobs and the command line: parse a config, call novacron, report."""
