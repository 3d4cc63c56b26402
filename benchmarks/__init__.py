"""Latency and scaling, measured: percentiles as JSON and as tables; run from the checkout."""
