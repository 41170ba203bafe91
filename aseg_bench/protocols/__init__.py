"""Under which rules maps meet the truth: one frozen record of settings, and the named presets of the field."""

from aseg_bench.protocols.presets import EXACT, NATIVE, PROTOCOLS, Protocol, find_protocol, protocol_stamped

__all__ = ["EXACT", "NATIVE", "PROTOCOLS", "Protocol", "find_protocol", "protocol_stamped"]
