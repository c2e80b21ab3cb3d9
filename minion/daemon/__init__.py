"""The daemon: it decides what runs, starts runners and writes down what they say."""
