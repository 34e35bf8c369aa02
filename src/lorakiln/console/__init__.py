"""What people see while the program works: errors they can act on, and progress."""
