"""What waiting costs: our trigger beside a bare loop and the http provider's triggers, in one run on one machine."""
