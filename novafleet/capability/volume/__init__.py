"""Disks of virtual machines: files in directory pools."""
