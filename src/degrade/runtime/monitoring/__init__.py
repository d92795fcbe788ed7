"""One flag under one runtime: the queues of its calls, and what they add up to.

flag_monitor   calls, machine and orders of a flag
fast_path      the few attributes that a call reads
call_recorder  the queues of a flag
sla_counter    calls to counters of the SLA
flag_metrics   counts by class, outcome and rung
flag_report    figures for exporters, reports for operators
"""
