"""The MCP door against what others wrote to try such doors: the conformance suites, and the inspector."""
