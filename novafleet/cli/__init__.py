"""The command line: options to requests, nothing else. Heavy modules are imported inside the commands."""
