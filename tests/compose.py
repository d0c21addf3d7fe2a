"""pytest-docker speaks to Compose (``-f FILE -p PROJECT COMMAND``); what it brings up here is the lab."""

import sys

from novafleet.cli.main import app

if __name__ == "__main__":
    app(["lab", *sys.argv[5:]], prog_name="novafleet")
