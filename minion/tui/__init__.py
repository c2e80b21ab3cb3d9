"""The terminal view: what people look at instead of log files. A package's face hands nothing on."""
