"""SSH: the adapters behind ``ports.Sessions`` and ``ports.HostSession``.

Importing this package is cheap; asyncssh is loaded by the first connection.
"""
