"""Jobs of a cluster's scheduler: what one asks for, the script that is made of it, and how it is handed in."""
