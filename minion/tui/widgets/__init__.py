"""The widgets of the terminal view. A package's face hands nothing on."""
