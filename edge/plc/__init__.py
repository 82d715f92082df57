"""What the PLC sees: the register map, the thread that writes it over Modbus TCP, and a stand-in server."""

import logging

# pymodbus logs every failed attempt; without any handler Python would print that beside our own log.
logging.getLogger("pymodbus").addHandler(logging.NullHandler())
