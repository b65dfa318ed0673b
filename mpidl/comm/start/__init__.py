"""How a rank starts, and how it ends when something fails."""
