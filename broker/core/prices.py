"""What it costs to draw at a site: money, energy and carbon, and what an operator gives for quality in return.

One unit is a 1280x720 view at 30 frames/s (`broker.core.picture`). Units of different hardware are compared by what
they take from the socket, so a site's figures are those of its usual node: watts of a full node divided by its units,
and what it draws when idle shared among them. The data centre adds its overhead (PUE), the grid its carbon.
"""

from typing import Annotated

from msgspec import Meta, Struct

from broker.core.quality import QualityModel

Amount = Annotated[float, Meta(ge=0.0, le=1e6)]
DEFAULT_SITE = "*"
"""Name under which an operator gives the figures of all sites that are not named."""


class SitePrices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The figures of one region. `price_per_unit_hour` is in the operator's currency."""

    price_per_unit_hour: Amount = 0.05
    watts_per_unit: Amount = 12.0
    """Power drawn for each unit in use, without the data centre's overhead."""
    pue: Annotated[float, Meta(ge=1.0, le=10.0)] = 1.3
    """Power usage effectiveness: what the data centre draws for each watt of its machines."""
    grams_co2_per_kwh: Amount = 300.0

    def energy_wh(self, unit_hours: float) -> float:
        """Energy for this much drawing, with the data centre's overhead."""
        return unit_hours * self.watts_per_unit * self.pue

    def carbon_g(self, unit_hours: float) -> float:
        """Grams of CO2 for this much drawing."""
        return self.energy_wh(unit_hours) / 1_000.0 * self.grams_co2_per_kwh

    def cost(self, unit_hours: float) -> float:
        """Money for this much drawing."""
        return unit_hours * self.price_per_unit_hour


class Weights(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator would give for one point of a viewer's quality (of 100): everything is counted in points.

    The defaults: a tenth of a currency unit an hour is worth 5 points, a hundred grams of CO2 an hour 10.
    """

    points_per_price: Amount = 50.0
    """Points for each unit of currency an hour."""
    points_per_kg_co2: Amount = 100.0
    """Points for each kilogram of CO2 an hour."""

    def site_points(self, prices: SitePrices) -> float:
        """What drawing one unit at a site costs, in points."""
        return self.points_per_price * prices.cost(1.0) + self.points_per_kg_co2 * prices.carbon_g(1.0) / 1_000.0


class Values(Struct, frozen=True, kw_only=True):
    """What quality, money and carbon are worth to an operator, and what sites cost."""

    model: QualityModel = QualityModel()
    weights: Weights = Weights()
    sites: dict[str, SitePrices] = {}

    def prices(self, region: str) -> SitePrices:
        """The figures of a region: its own, those of `*`, or the built-in ones."""
        return self.sites.get(region) or self.sites.get(DEFAULT_SITE) or SitePrices()

    def site_points(self, region: str) -> float:
        """What drawing one unit in a region costs, in points."""
        return self.weights.site_points(self.prices(region))
