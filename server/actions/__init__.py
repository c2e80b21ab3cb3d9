"""What HQ can do, one verb a file; each function is one transaction on a connection that it is given."""
