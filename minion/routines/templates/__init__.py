"""The ready routines that come with the product, one YAML file each, to be copied and changed."""
