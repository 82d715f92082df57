"""Who may speak to whom over TCP: keys (CURVE), doors with their roles, and the guard at them."""
