"""Helpers of the suites in the folders beside this one."""
