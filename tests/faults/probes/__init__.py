"""What a hijacked model would try with its tools, and the host it tries it on (F20)."""
