"""Sim3DR."""
