"""`farstage simulate`: the broker's core in virtual time, among the people, sites and failures of a scenario."""
