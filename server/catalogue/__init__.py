"""The process classification (PCF) as data that people read and edit, and how it is read."""
