"""The screens of the terminal view, one per file. A package's face hands nothing on."""
