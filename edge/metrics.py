"""What an edge tells Prometheus: read from the live objects at each scrape, nothing is counted twice."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.hub import StreamHub
from edge.trunk import TrunkAcceptor
from edge.whep import WhepRoutes

QUANTILES = (0.5, 0.95, 0.99)


class EdgeCollector(Collector):
    """Collects one edge's figures."""

    def __init__(self, hub: StreamHub, whep: WhepRoutes, trunks: TrunkAcceptor) -> None:
        self._hub = hub
        self._whep = whep
        self._trunks = trunks

    def collect(self) -> Iterable[Metric]:
        """Metrics in the exposition order."""
        yield GaugeMetricFamily("farstage_edge_viewers", "Connected viewers", self._hub.viewers)
        yield GaugeMetricFamily("farstage_edge_publishers", "Connected publishers", self._hub.publishers)
        yield self._layers()
        yield GaugeMetricFamily("farstage_edge_streams", "Streams with a source", self._hub.streams)
        yield GaugeMetricFamily("farstage_edge_trunks", "Sources connected", len(self._trunks.connections))
        yield CounterMetricFamily("farstage_edge_trunk_violations", "Trunks closed for a rule", self._trunks.malformed)
        yield CounterMetricFamily("farstage_edge_offers_refused", "SDP offers refused", self._whep.offers_refused)
        yield CounterMetricFamily("farstage_edge_tokens_refused", "Tokens refused", self._whep.tokens_refused)
        yield from self._relay()
        yield self._input_to_packet()
        for name, value in dataclasses.asdict(self._hub.counters).items():
            yield CounterMetricFamily(f"farstage_edge_{name}", f"{name.replace('_', ' ')} since start", value)
        refused = CounterMetricFamily("farstage_edge_refused", "Dropped or refused by the engine", labels=["reason"])
        for reason, value in self._hub.engine.refusals().items():
            refused.add_metric([reason], value)
        yield refused
        yield self._send_latency()

    def _layers(self) -> Metric:
        family = GaugeMetricFamily("farstage_edge_layer_viewers", "Viewers of each simulcast layer", labels=["layer"])
        for layer, viewers in sorted(self._hub.viewers_by_layer().items()):
            family.add_metric([str(layer)], viewers)
        return family

    def _relay(self) -> Iterable[Metric]:
        relay = self._hub.relay
        yield GaugeMetricFamily("farstage_edge_hops", "Most edges a stream has passed before this one", self._hub.hops)
        yield GaugeMetricFamily("farstage_edge_relayed_streams", "Streams passed on", relay.streams)
        yield GaugeMetricFamily("farstage_edge_relay_children", "Edges fed, for each stream", relay.children)
        for name, value in dataclasses.asdict(relay.counters).items():
            yield CounterMetricFamily(f"farstage_edge_{name}", f"{name.replace('_', ' ')} since start", value)

    def _send_latency(self) -> Metric:
        family = HistogramMetricFamily(
            "farstage_edge_picture_send_seconds", "A picture's arrival to its last packet handed to the kernel"
        )
        buckets, count, sum_s = [], 0, 0.0
        for upper_us, pictures in self._hub.engine.send_latency():
            count += pictures
            sum_s += pictures * upper_us * 1e-6
            buckets.append((f"{upper_us * 1e-6:.9f}", float(count)))
        if count:
            family.add_metric([], buckets=[*buckets[::8], ("+Inf", float(count))], sum_value=sum_s)
        return family

    def _input_to_packet(self) -> Metric:
        family = GaugeMetricFamily(
            "farstage_edge_input_to_packet_ms",
            "Input's arrival to the first packet of the picture that shows it, latest 2,000 inputs",
            labels=["quantile"],
        )
        samples = self._hub.input_to_packet_ms
        if samples:
            for quantile in QUANTILES:
                family.add_metric([str(quantile)], float(np.quantile(samples, quantile)))
        return family


def registry(hub: StreamHub, whep: WhepRoutes, trunks: TrunkAcceptor) -> CollectorRegistry:
    """A registry with this edge's collector alone."""
    result = CollectorRegistry()
    result.register(EdgeCollector(hub, whep, trunks))
    return result
