"""The architecture as tests: layers, sizes, packaging, imports of idle processes, promises."""
