"""How a caller chooses among the endpoints of a service: pure functions, the same in Resolve and in the channels."""

from sira_client.balancing.candidates import Candidate, select
from sira_client.balancing.order import order
from sira_client.balancing.picker import Picker, make_picker
from sira_client.balancing.rendezvous import Rendezvous
from sira_client.balancing.slow_start import ramp_end_ns

__all__ = ["Candidate", "Picker", "Rendezvous", "make_picker", "order", "ramp_end_ns", "select"]
