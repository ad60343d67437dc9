"""The sections of ``benchmarks/speed.py``, one file each, and what they share.

A section has ``run(request, before)``, which yields its part of the results, more of it each time;
``measure(task)``, which runs in a process of its own and returns what JSON can hold; and
``lines(part)``, its table.
"""
