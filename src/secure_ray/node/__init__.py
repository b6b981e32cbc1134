"""One node's life: decide, plan, start, supervise, stop. The only place that touches Ray."""
