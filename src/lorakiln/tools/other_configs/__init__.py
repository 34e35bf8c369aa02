"""Configs of other trainers as experiments of ours: one file for each program, found by what its files hold."""
