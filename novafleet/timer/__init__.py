"""What starts scheduled runs on the controller: systemd timers, or a crontab."""
