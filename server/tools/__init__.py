"""HQ's MCP door: tools, resources and prompts; each tool calls one action."""
