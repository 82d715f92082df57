"""What the PLC sees: the register map, the thread that writes it over Modbus TCP, and a stand-in server."""
