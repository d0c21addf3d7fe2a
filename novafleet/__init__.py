"""NovaFleet: agentless day-2 operations for KVM hosts you do not want to convert."""

__version__ = "0.1.0"
