"""serve: classify pictures that come over HTTP, as tools.predict would."""
