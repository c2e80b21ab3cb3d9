"""Faults: processes killed, disks full, clocks wrong; what was promised holds afterwards."""
