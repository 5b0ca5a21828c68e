"""Demos: real data that a project can begin with, and the deliveries that play its weeks.

A demo fills a source database and nothing else. The pipeline reads that database as it would
any other, and cannot tell that it belongs to a demo.
"""
