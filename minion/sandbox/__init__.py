"""The envelope around untrusted work: the bubblewrap command line, the tool host inside it, its client."""
